//! The two seed policies, held to their clauses, and what a policy is refused for.

use super::*;

const KOSELFIE: &str = include_str!("../../../policies/koselfie.toml");
const HALOPROFILE: &str = include_str!("../../../policies/haloprofile.toml");

fn koselfie() -> Policy {
    Policy::parse(KOSELFIE).unwrap()
}

fn haloprofile() -> Policy {
    Policy::parse(HALOPROFILE).unwrap()
}

/// What the check says about KoSelfie's file after one change.
fn findings(from: &str, to: &str) -> Vec<Finding> {
    assert!(KOSELFIE.contains(from), "{from}");
    Policy::parse(&KOSELFIE.replacen(from, to, 1)).unwrap().check().err().unwrap_or_default()
}

/// All classes that this processor may have for this purpose, and all purposes that it may have them for.
fn by(policy: &Policy, processor: Processor) -> Vec<(Purpose, DataClass)> {
    policy.rules().filter(|rule| rule.processor == processor).map(|rule| (rule.purpose, rule.class)).collect()
}

#[test]
fn both_seed_policies_can_be_used() {
    let tenants: Vec<String> = Policy::bundled().unwrap().iter().map(|policy| policy.tenant().to_owned()).collect();
    assert_eq!(tenants, ["haloprofile", "koselfie"]);
}

#[test]
fn h10_a_class_without_a_retention_rule_is_refused() {
    for class in DataClass::ALL {
        let at = KOSELFIE.find(&format!("\n{class} = ")).unwrap();
        let rest = &KOSELFIE[at + 1..];
        let without = format!("{}{}", &KOSELFIE[..=at], &rest[rest.find('\n').unwrap() + 1..]);
        assert_eq!(Policy::parse(&without).unwrap().check(), Err(vec![Finding::NoRetention(*class)]));
    }
}

#[test]
fn h20_fal_trains_and_generates_for_haloprofile_and_does_nothing_else() {
    let done: BTreeMap<Purpose, Vec<DataClass>> = by(&haloprofile(), Processor::Fal).into_iter().fold(
        BTreeMap::new(),
        |mut all: BTreeMap<Purpose, Vec<DataClass>>, (purpose, class)| {
            all.entry(purpose).or_default().push(class);
            all
        },
    );
    let listed = BTreeMap::from([
        (Purpose::Train, vec![DataClass::Upload, DataClass::Model]),
        (Purpose::Generate, vec![DataClass::Model, DataClass::Image, DataClass::Prompt]),
    ]);
    assert_eq!(done, listed);
}

#[test]
fn h27_haloprofile_says_until_erasure_and_has_no_term() {
    let policy = haloprofile();
    for class in [DataClass::Account, DataClass::Upload, DataClass::Model, DataClass::Image, DataClass::Prompt] {
        assert_eq!(policy.retention(class), Some(&Retention::UntilErasure), "{class}");
    }
    assert!(DataClass::ALL.iter().all(|class| policy.retention(*class).and_then(Retention::term).is_none()));
}

#[test]
fn h28_haloprofile_has_no_compare_and_no_nsfw_rule() {
    let policy = haloprofile();
    assert!(policy.purpose(Purpose::Compare).is_none() && policy.purpose(Purpose::Nsfw).is_none());
    assert!(policy.rules().all(|rule| !matches!(rule.purpose, Purpose::Compare | Purpose::Nsfw)));
    assert!(policy.rules().all(|rule| rule.class != DataClass::Embedding));
    assert_eq!(policy.retention(DataClass::Embedding), Some(&Retention::Never));
    assert!(policy.nsfw().is_err() && policy.similarity_threshold("pro").is_err());
}

#[test]
fn h29_haloprofile_has_no_mail_no_hosting_and_no_monitoring_processor() {
    let policy = haloprofile();
    for processor in [Processor::Resend, Processor::Vercel, Processor::Sentry] {
        assert_eq!(by(&policy, processor), []);
        assert!(policy.processors().all(|(registered, _)| registered != processor));
    }
    assert!(policy.allows(Purpose::Notify, Processor::SelfHosted, DataClass::Account));
    assert!(policy.allows(Purpose::Observe, Processor::SelfHosted, DataClass::Job));
}

#[test]
fn d10_haloprofile_never_generates_from_an_upload() {
    let policy = haloprofile();
    assert!(Processor::ALL.iter().all(|by| !policy.allows(Purpose::Generate, *by, DataClass::Upload)));
    assert!(policy.plans().iter().all(|plan| plan.needs_model));
    let sold = HALOPROFILE.replacen("needs_model = true", "needs_model = false", 1);
    let why = Policy::parse(&sold).unwrap().check().unwrap_err();
    assert!(why.iter().any(|finding| finding.to_string().contains("needs `generate` of `upload` by `fal`")), "{why:?}");
}

#[test]
fn each_consent_is_asked_for_by_itself_and_where_the_text_says() {
    let policy = koselfie();
    let compare = policy.purpose(Purpose::Compare).unwrap();
    assert_eq!(compare.capture_points, [CapturePoint::SignUp, CapturePoint::Upload]);
    assert_eq!((compare.basis, compare.scope), (Some(Basis::Consent), Some(Scope::Batch)));
    let train = policy.purpose(Purpose::Train).unwrap();
    assert_eq!(train.capture_points, [CapturePoint::Checkout]);
    assert_eq!((train.basis, train.scope), (Some(Basis::Consent), Some(Scope::Order)));
    assert_eq!(policy.plan("pro").unwrap().consents, [Purpose::Train]);
    assert!(policy.plan("basic").unwrap().consents.is_empty());
}

#[test]
fn d1_and_d3_photos_models_and_images_have_720_hours_from_upload_or_delivery() {
    let policy = koselfie();
    let term = |class| policy.retention(class).and_then(Retention::term);
    assert_eq!(term(DataClass::Upload), Some((720, TermStart::UploadedAt)));
    assert_eq!(term(DataClass::Model), Some((720, TermStart::DeliveredAt)));
    assert_eq!(term(DataClass::Image), Some((720, TermStart::DeliveredAt)));
    assert_eq!(policy.retention(DataClass::Embedding), Some(&Retention::WithSource));
}

#[test]
fn k31_fal_makes_and_labels_images_for_koselfie_and_the_text_lists_nothing_more() {
    let policy = koselfie();
    let listed = policy.rules().filter(|rule| rule.processor == Processor::Fal && rule.accepted_gap.is_none());
    assert!(listed.into_iter().all(|rule| matches!(rule.purpose, Purpose::Generate | Purpose::Nsfw)));
    assert!(policy.allows(Purpose::Nsfw, Processor::Fal, DataClass::Image));
    let text_only = KOSELFIE.split("[[accepted_gap]]").next().unwrap().to_owned();
    let policy = Policy::parse(&text_only).unwrap();
    assert!(!policy.allows(Purpose::Train, Processor::Fal, DataClass::Upload));
}

#[test]
fn d6_faces_are_compared_by_ourselves_and_by_nobody_else() {
    let compared: Vec<Processor> =
        koselfie().rules().filter(|rule| rule.purpose == Purpose::Compare).map(|rule| rule.processor).collect();
    assert!(!compared.is_empty() && compared.iter().all(|by| *by == Processor::SelfHosted));
}

#[test]
fn d7_fal_trains_for_koselfie_only_through_a_gap_that_says_who_when_and_why() {
    let policy = koselfie();
    let opened: Vec<Rule<'_>> = policy.rules().filter(|rule| rule.accepted_gap.is_some()).collect();
    let triples: Vec<_> = opened.iter().map(|rule| (rule.purpose, rule.processor, rule.class)).collect();
    let by_fal = |class| (Purpose::Train, Processor::Fal, class);
    assert_eq!(triples, [by_fal(DataClass::Upload), by_fal(DataClass::Model)]);
    let told = policy.accepted_gaps()[0].to_string();
    assert!(told.starts_with("D7, accepted by Data protection lead of KoSelfie on 2026-05-26: "), "{told}");
    let nobody = findings(r#"who = "Data protection lead of KoSelfie""#, r#"who = " ""#);
    assert_eq!(nobody, [Finding::NobodysGap("D7".into())]);
    assert!(haloprofile().accepted_gaps().is_empty());
}

#[test]
fn an_accepted_gap_that_opens_nothing_new_is_refused() {
    let needless = findings(
        "classes = [\"upload\", \"model\"]\n\n[nsfw]",
        "classes = [\"upload\", \"model\"]\n\n[[rule]]\npurpose = \"train\"\nprocessor = \"fal\"\nclasses = [\"upload\"]\n\n[nsfw]",
    );
    assert_eq!(needless, [Finding::NeedlessGap("D7".into())]);
}

#[test]
fn an_unknown_country_has_no_fiscal_rule_rather_than_a_guessed_one() {
    let policy = koselfie();
    let germany = policy.fiscal("de").unwrap();
    assert_eq!(germany.years, 10);
    assert!(germany.legal.contains("2006/112/EC"));
    assert!(policy.fiscal("US").is_none() && policy.fiscal("").is_none());
    assert_eq!(findings("\"SK\",", "\"SK\", \"DE\","), [Finding::TwoFiscalRules("DE".into())]);
    assert_eq!(findings("\"SK\",", "\"sk\","), [Finding::FiscalRule]);
}

#[test]
fn a_purpose_without_a_basis_or_a_consent_that_is_asked_for_nowhere_is_refused() {
    assert_eq!(findings(r#"host = { basis = "contract", "#, "host = { "), [Finding::NoBasis(Purpose::Host)]);
    let nowhere = findings(r#"capture_points = ["checkout"], "#, "");
    assert_eq!(nowhere, [Finding::NoCapturePoint(Purpose::Train)]);
    assert_eq!(findings(r#"scope = "order", "#, ""), [Finding::NoScope(Purpose::Train)]);
    let needless = findings(r#"pay = { basis = "contract", "#, r#"pay = { basis = "contract", scope = "order", "#);
    assert_eq!(needless, [Finding::NeedlessConsent(Purpose::Pay)]);
}

#[test]
fn h22_k37_a_processor_without_agreement_region_or_safeguards_is_refused() {
    assert_eq!(findings(r#"agreement = "KS-DPA-01""#, ""), [Finding::NoAgreement(Processor::Fal)]);
    assert_eq!(findings(r#"agreed_on = "2026-05-01""#, ""), [Finding::NoAgreement(Processor::Fal)]);
    assert_eq!(findings(r#"region = "US""#, ""), [Finding::NoSafeguards(Processor::Fal)]);
    assert_eq!(
        findings("standard contractual clauses, Decision (EU) 2021/914, module two", ""),
        [Finding::NoSafeguards(Processor::Fal)]
    );
}

#[test]
fn a_rule_that_names_unknown_things_is_refused() {
    let twice =
        |missing| vec![Finding::DanglingRule { purpose: Purpose::Observe, processor: Processor::Sentry, missing }];
    let dropped = KOSELFIE.replace("[processor.sentry]", "[processor.stripe2]");
    assert!(matches!(Policy::parse(&dropped), Err(PolicyError::Malformed { why, .. }) if why.contains("stripe2")));
    let from = KOSELFIE.find("[processor.sentry]").unwrap();
    let to = KOSELFIE.find("# Purpose x processor").unwrap();
    let unregistered = Policy::parse(&format!("{}{}", &KOSELFIE[..from], &KOSELFIE[to..])).unwrap();
    assert_eq!(unregistered.check(), Err(twice("the processor is not registered")));
    let unheard = findings("observe = { basis = \"legitimate_interest\", clauses = [\"K35\"] }\n", "");
    assert!(unheard.contains(&twice("this tenant has no such purpose")[0]), "{unheard:?}");
    assert!(Policy::parse(&KOSELFIE.replacen("\"embedding\"", "\"face\"", 1)).is_err());
    assert_eq!(
        findings(r#"classes = ["account"]"#, "classes = []"),
        [Finding::EmptyRule { purpose: Purpose::Notify, processor: Processor::Resend }]
    );
}

#[test]
fn a_class_that_never_exists_and_is_processed_all_the_same_is_refused() {
    let refused = findings(r#"embedding = "with_source""#, r#"embedding = "never""#);
    assert!(
        refused.iter().all(|finding| *finding == Finding::NeverAndYet(DataClass::Embedding)) && !refused.is_empty()
    );
}

#[test]
fn a_text_hash_that_is_none_and_a_tenant_id_that_no_path_can_hold_are_refused() {
    assert_eq!(findings("fe07f42", "FE07F42"), [Finding::NotAHash]);
    assert_eq!(findings("fe07f42", ""), [Finding::NotAHash]);
    assert_eq!(findings(r#"tenant = "koselfie""#, r#"tenant = "../x""#), [Finding::TenantId("../x".into())]);
    assert_eq!(findings(r#"controller = "KoSelfie""#, r#"controller = """#), [Finding::Empty("controller")]);
}

#[test]
fn a_plan_that_cannot_be_carried_out_is_not_sold() {
    let why = |from: &str, to: &str| findings(from, to).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    assert!(why("[plan.training]\nmodel = \"fal-ai/flux-lora-portrait-trainer\"\ntrigger = \"ksperson\"\n\n[plan.training.parameters]\nsteps = 2500\nlearning_rate = 0.00009\nmultiresolution_training = true\nsubject_crop = true\n", "").contains("says how it is trained"));
    assert!(why("photos_min = 10\n", "photos_min = 21\n").contains("photos_min"));
    assert!(why("id = \"pro\"", "id = \"basic\"").contains("no id of its own"));
    assert!(why("similarity_threshold = 0.40", "").contains("similarity threshold"));
    assert!(why("consents = [\"train\"]", "consents = [\"pay\"]").contains("does not rest on consent"));
    assert!(why("currency = \"eur\"", "currency = \"EUR\"").contains("currency"));
    let unopened = KOSELFIE.replacen(
        "purpose = \"train\"\nprocessor = \"fal\"",
        "purpose = \"generate\"\nprocessor = \"stripe\"",
        1,
    );
    let refused = Policy::parse(&unopened).unwrap().check().unwrap_err();
    assert!(refused.iter().any(|finding| finding.to_string().contains("needs `train` of `upload` by `fal`")));
}

#[test]
fn an_unknown_key_is_refused_wherever_it_stands() {
    for (from, to) in [
        ("tenant = ", "tenants = 1\ntenant = "),
        ("hours = 720, from", "days = 30, hours = 720, from"),
        ("from = \"end_of_year\"", "from = \"end_of_year\"\nuntil = 1"),
        ("agreement = ", "agreements = 1\nagreement = "),
        ("images = 4", "images = 4\npictures = 4"),
        ("purpose = \"nsfw\"", "purpose = \"nsfw\"\nnote = \"\""),
        ("who = ", "whom = \"\"\nwho = "),
    ] {
        assert!(KOSELFIE.contains(from), "{from}");
        let refused = Policy::parse(&KOSELFIE.replacen(from, to, 1));
        assert!(
            matches!(&refused, Err(PolicyError::Malformed { why, .. }) if why.contains("unknown field") || why.contains("unexpected keys")),
            "{to}: {refused:?}"
        );
    }
}

#[test]
fn a_third_tenant_is_one_file_and_a_wrong_file_stops_the_start() {
    let folder = std::env::temp_dir().join(format!("safelight-policies-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    assert!(matches!(Policy::load_dir(&folder), Err(PolicyError::Empty { .. })));
    std::fs::write(folder.join("koselfie.toml"), KOSELFIE).unwrap();
    std::fs::write(folder.join("haloprofile.toml"), HALOPROFILE).unwrap();
    std::fs::write(folder.join("thirdtenant.toml"), KOSELFIE.replacen("koselfie", "thirdtenant", 1)).unwrap();
    std::fs::write(folder.join("README.md"), "not a policy").unwrap();
    let tenants: Vec<String> = Policy::load_dir(&folder).unwrap().iter().map(|p| p.tenant().to_owned()).collect();
    assert_eq!(tenants, ["haloprofile", "koselfie", "thirdtenant"]);

    std::fs::write(folder.join("fourth.toml"), KOSELFIE).unwrap();
    assert!(matches!(Policy::load_dir(&folder), Err(PolicyError::Misnamed { file, .. }) if file == "fourth.toml"));
    std::fs::write(folder.join("fourth.toml"), "tenant = ").unwrap();
    assert!(matches!(Policy::load_dir(&folder), Err(PolicyError::Malformed { file, .. }) if file == "fourth.toml"));
    let empty = KOSELFIE.replacen("koselfie", "fourth", 1).replacen("upload = {", "# upload = {", 1);
    std::fs::write(folder.join("fourth.toml"), empty).unwrap();
    let refused = Policy::load_dir(&folder).unwrap_err().to_string();
    assert_eq!(refused, "the policy of `fourth` cannot be used: class `upload` has no retention rule");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(Policy::load_dir(&folder), Err(PolicyError::Unreadable { .. })));
}

#[test]
fn what_a_plan_needs_is_read_from_it_and_a_plan_that_is_not_sold_is_named() {
    let policy = koselfie();
    let training = policy.training("pro").unwrap();
    assert_eq!((training.model.as_str(), training.photos_min), ("fal-ai/flux-lora-portrait-trainer", 10));
    assert_eq!(training.parameters["steps"], 2500);
    assert_eq!(policy.generation("basic").unwrap().model, "fal-ai/flux-lora/image-to-image");
    assert!((policy.similarity_threshold("pro").unwrap() - 0.40).abs() < 1e-6);
    let lack = policy.training("basic").unwrap_err();
    assert_eq!(lack.to_string(), "the policy of `koselfie`, version 2026-05-25, has no training in plan `basic`");
    assert_eq!(policy.plan("gold").unwrap_err().what, "plan `gold`");
}

#[test]
fn every_word_reads_back_and_a_strange_one_is_told_what_there_is() {
    fn reads_back<T: std::str::FromStr + std::fmt::Display + serde::Serialize + PartialEq + std::fmt::Debug>(all: &[T])
    where
        T::Err: std::fmt::Debug,
    {
        for one in all {
            assert_eq!(one.to_string().parse::<T>().unwrap(), *one);
            assert_eq!(serde_json::to_value(one).unwrap(), one.to_string());
        }
    }
    reads_back(Purpose::ALL);
    reads_back(Processor::ALL);
    reads_back(DataClass::ALL);
    reads_back(Basis::ALL);
    reads_back(CapturePoint::ALL);
    reads_back(Scope::ALL);
    let strange = "analytics".parse::<Purpose>().unwrap_err().to_string();
    assert!(strange.starts_with("`analytics` is no purpose; expected one of: train, generate, compare"), "{strange}");
}

#[test]
fn another_content_has_another_hash_and_the_stored_form_reads_back() {
    let policy = koselfie();
    let changed = Policy::parse(&KOSELFIE.replacen("hours = 720", "hours = 721", 1)).unwrap();
    assert_ne!(policy.sha256().unwrap(), changed.sha256().unwrap());
    assert_eq!(policy.sha256().unwrap(), koselfie().sha256().unwrap());
    let stored: Document = serde_json::from_value(policy.to_json().unwrap()).unwrap();
    assert_eq!(stored, policy.document);
}
