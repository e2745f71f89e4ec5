//! The register of processing activities as a page to read and to print: whole in one file, no script, nothing fetched.

use maud::{DOCTYPE, Markup, html};
use safelight_jobs::register::{Activity, Data, Recipient, Register};

/// In the page itself, so that a saved file looks the same.
const STYLE: &str = "
body { font: 11pt/1.45 system-ui, sans-serif; color: #111; background: #fff; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.5rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem; margin: 1.25rem 0 .25rem }
p.lead { margin: 0 0 1.5rem; color: #444 } dl { display: grid; grid-template-columns: 11rem 1fr; gap: .25rem 1rem; margin: 0 }
dt { color: #555 } dd { margin: 0 } code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #ddd }
th { font-weight: 600; color: #555 } tr { break-inside: avoid } table.places { font-size: .85rem } footer { margin: 2rem 0; color: #555; font-size: .85rem }
@media print { body { margin: 0; max-width: none; padding: 0 } @page { margin: 18mm } }
";

/// The page: one register a tenant, one after the other.
#[must_use]
pub fn register_page(registers: &[Register]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Register of processing activities" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                @for register in registers { (one(register)) }
                footer { "Drawn from the policy that the gates enforce and from the data map that erasures are held to." }
            }
        }
    }
    .into_string()
}

fn one(register: &Register) -> Markup {
    html! {
        article {
            h1 { "Register of processing activities: " (register.controller) }
            p.lead { "GDPR Art. 30(1)." }
            dl {
                dt { "Controller" } dd { (register.controller) ", " (register.contact) }
                dt { "Policy" } dd { (register.policy_version) ", in force from " (register.effective_at.format("%Y-%m-%d")) }
                dt { "Persons" } dd { (register.persons) }
            }
            h2 { "What is done, and why that is lawful" }
            table {
                thead { tr { th { "purpose" } th { "basis" } th { "by" } } }
                tbody { @for activity in &register.activities { (row(activity)) } }
            }
            h2 { "Which data, how long, and what an erasure does" }
            @for data in &register.data { (kind(data)) }
            h2 { "Recipients" }
            table {
                thead { tr { th { "processor" } th { "where" } th { "safeguards" } th { "agreement" } } }
                tbody { @for recipient in &register.recipients { (to(recipient)) } }
            }
            h2 { "Done although the published text does not list it" }
            @if register.accepted_gaps.is_empty() { p { "Nothing." } } @else { ul { @for gap in &register.accepted_gaps { li { (gap) } } } }
            h2 { "Measures" }
            ul { @for measure in &register.measures { li { (measure) } } }
        }
    }
}

fn row(activity: &Activity) -> Markup {
    html! {
        tr {
            th scope="row" { (activity.purpose) }
            td {
                (said(activity.basis))
                @if !activity.consent_at.is_empty() { ", asked at " (said(&activity.consent_at.join(", "))) }
            }
            td { @for (n, by) in activity.by.iter().enumerate() {
                @if n > 0 { br; }
                (by.processor) ": " (said(&by.classes.join(", ")))
            } }
        }
    }
}

fn kind(data: &Data) -> Markup {
    html! {
        h3 { (said(data.class)) @if data.special_category { " (special category, Art. 9)" } }
        p { "Kept " (data.kept) "." }
        table.places {
            thead { tr { th { "where" } th { "at" } th { "sealed" } th { "exported" } th { "erasure" } } }
            tbody { @for place in &data.places { tr {
                td { code { (place.place) } } td { (place.processor) } td { (yes(place.sealed)) } td { (yes(place.exported)) } td { (place.erasure) }
            } } }
        }
    }
}

fn to(recipient: &Recipient) -> Markup {
    html! {
        tr {
            th scope="row" { (recipient.processor) ": " (recipient.name) }
            td { (recipient.region) } td { (recipient.safeguards) } td { (recipient.agreement) ", " (recipient.agreed_on) }
        }
    }
}

fn said(word: &str) -> String {
    word.replace('_', " ")
}

fn yes(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}
