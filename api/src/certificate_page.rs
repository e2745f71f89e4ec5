//! A deletion's certificate as a page to read and to print: whole in one file, no script, nothing fetched.

use maud::{DOCTYPE, Markup, html};
use safelight_evidence::{
    Checkpoint, SignedCertificate,
    certificate::{Certificate, Stays, Step},
};

/// In the page itself, so that a saved file looks the same.
const STYLE: &str = "
body { font: 11pt/1.45 system-ui, sans-serif; color: #111; background: #fff; max-width: 48rem; margin: 2.5rem auto; padding: 0 1.5rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.lead { margin: 0 0 1.5rem; color: #444 } dl { display: grid; grid-template-columns: 11rem 1fr; gap: .25rem 1rem; margin: 0 }
dt { color: #555 } dd { margin: 0 } code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #ddd }
th { font-weight: 600; color: #555 } td.n { text-align: right; white-space: nowrap } pre { font: .8rem ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .75rem }
table.lines { font-size: .8rem } tr { break-inside: avoid } footer { margin: 2rem 0; color: #555; font-size: .85rem }
@media print { body { margin: 0; max-width: none; padding: 0 } @page { margin: 18mm } }
";

/// The page.
#[must_use]
pub fn certificate_page(signed: &SignedCertificate) -> String {
    let certificate = &signed.certificate;
    let (kept, gone): (Vec<&Step>, Vec<&Step>) =
        certificate.steps.iter().partition(|step| step.state == "retained_by_law");
    let total: u64 = certificate.steps.iter().map(|step| step.deleted).sum();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Certificate of deletion " (certificate.deletion) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Certificate of deletion" }
                p.lead { (certificate.controller) " deleted " (total) " objects and records, and looked that they are gone." }
                (facts(certificate))
                h2 { "What was deleted, where, and how it was seen to be gone" }
                (steps(&gone))
                h2 { "What stays, and by which law" }
                @if kept.is_empty() { p { "Nothing." } } @else { (steps(&kept)) }
                @if let Some(stays) = &certificate.stays { (not_taken(stays)) }
                @if !certificate.accepted_gaps.is_empty() {
                    h2 { "Done although the published policy does not list it" }
                    ul { @for gap in &certificate.accepted_gaps { li { (gap) } } }
                }
                (proof(signed))
                footer {
                    "This page holds no personal data: ids, codes, numbers and times only. Targets are named by salted hashes, whose \
                    salts are destroyed with the person's key. The signed JSON, not this page, is what is checked."
                }
            }
        }
    }
    .into_string()
}

fn facts(certificate: &Certificate) -> Markup {
    html! {
        dl {
            dt { "Deletion" } dd { code { (certificate.deletion) } }
            dt { "Service" } dd { (certificate.tenant) }
            dt { "Answers for it" } dd { (certificate.controller) @if let Some(contact) = &certificate.contact { ", " (contact) } }
            dt { "Because of" } dd { (said(&certificate.trigger)) @if let Some(purpose) = &certificate.purpose { " for " (said(purpose)) } }
            dt { "Asked for" } dd { (when(&certificate.requested_at)) }
            dt { "Complete" } dd { (when(&certificate.completed_at)) }
            dt { "Legal deadline" } dd { (when(&certificate.answer_due)) }
            dt { "Certificate made" } dd { (when(&certificate.issued_at)) }
        }
    }
}

fn steps(steps: &[&Step]) -> Markup {
    html! {
        table {
            thead { tr { th { "What" } th { "Where" } th { "Gone" } th { "How it was seen" } th { "When" } } }
            tbody {
                @for step in steps {
                    tr {
                        td { (said(&step.class)) }
                        td { (said(&step.processor)) }
                        td.n { (step.deleted) }
                        td { (step.evidence) }
                        td { (when(&step.verified_at)) }
                    }
                }
            }
        }
    }
}

fn not_taken(stays: &[Stays]) -> Markup {
    html! {
        h2 { "What no step takes, where it stays, and why" }
        p { "What may be there, for everybody alike; not what there is of this person." }
        @if stays.is_empty() { p { "Nothing." } } @else {
            table {
                thead { tr { th { "What" } th { "Where" } th { "Kinds of data" } th { "Why, and until when" } } }
                tbody {
                    @for one in stays {
                        tr {
                            td { (one.place) }
                            td { (said(&one.processor)) }
                            td { @if one.classes.is_empty() { "names nobody" } @else { (said(&one.classes.join(", "))) } }
                            td { (one.why) }
                        }
                    }
                }
            }
        }
    }
}

fn proof(signed: &SignedCertificate) -> Markup {
    let certificate = &signed.certificate;
    let checkpoint = Checkpoint::peek(&certificate.checkpoint);
    html! {
        h2 { "Proof" }
        @if let Some(checkpoint) = checkpoint {
            p {
                "Each line below stands in the audit log " strong { (checkpoint.origin) } " under its number, shown by a proof against \
                the signed checkpoint of " (checkpoint.size) " entries. Compare this checkpoint with the one that was published \
                outside the service."
            }
        }
        pre { (certificate.checkpoint) }
        table.lines {
            thead { tr { th { "Number" } th { "Time" } th { "What" } th { "Class" } th { "Where" } th { "Target" } } }
            tbody {
                @for line in &certificate.lines {
                    tr {
                        td.n { (line.entry.seq) }
                        td { (when(&line.entry.at)) }
                        td { (said(&line.entry.action)) ": " (said(&line.entry.outcome)) }
                        td { (line.entry.class.as_deref().map(said).unwrap_or_default()) }
                        td { (line.entry.processor.as_deref().map(said).unwrap_or_default()) }
                        td { code { (line.entry.commitment.as_deref().unwrap_or_default()) } }
                    }
                }
            }
        }
        p { "Check the JSON of this certificate with the log's public key: " code { "safelight-verify --certificate FILE --key KEY --checkpoints FOLDER" } }
    }
}

fn said(code: &str) -> String {
    code.replace(['_', '.'], " ")
}

/// To the second: the JSON has the microseconds.
fn when(time: &str) -> String {
    match time.split_once('T') {
        Some((day, clock)) => format!("{day} {} UTC", clock.get(..8).unwrap_or(clock)),
        None => time.to_owned(),
    }
}
