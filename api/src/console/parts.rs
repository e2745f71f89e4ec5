//! Tables, and lists that are shown a page at a time: the place in an address where a page begins, and the link to the next one.

use std::fmt::Display;

use maud::{Markup, html};
use safelight_jobs::place::Place;

/// Rows of one page of a list that has a page to itself.
pub(super) const MOST: usize = 50;

/// What a page of so many rows asks for, to see whether there is a next one.
pub(super) fn one_more(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)
}

/// The place that stands in an address; words that are none begin the list anew.
pub(super) fn place(text: Option<&String>) -> Option<Place> {
    text.and_then(|text| text.parse().ok())
}

/// The link to the next page, where there is one. `address` ends where the place is to stand, `section` is where the page is opened.
pub(super) fn more(next: Option<impl Display>, address: &str, section: &str, says: &str) -> Markup {
    html! { @if let Some(next) = next { p.after { a href={ (address) (next) (section) } rel="next" { (says) } } } }
}

/// Rows of one page and the place of the last of them, where there are more, of rows that were asked for with [`one_more`].
pub(super) fn page<R, P>(mut rows: Vec<R>, most: usize, place: impl Fn(&R) -> P) -> (Vec<R>, Option<P>) {
    let more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| more).map(place);
    (rows, next)
}

/// A table that scrolls by itself on a narrow screen, each row drawn by `line`. A column whose name begins with `#` holds numbers.
pub(super) fn table<'r, R: 'r>(
    label: &str,
    columns: &[&str],
    rows: impl IntoIterator<Item = &'r R>,
    line: impl Fn(&'r R) -> Markup,
) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) { table {
            thead { tr { @for column in columns { @match column.strip_prefix('#') {
                Some(number) => th.n scope="col" { (number) },
                None => th scope="col" { (column) },
            } } } }
            tbody { @for row in rows { tr { (line(row)) } } }
        } }
    }
}

/// A [`table`], or a sentence where there is no row.
pub(super) fn listed<R>(none: &str, label: &str, columns: &[&str], rows: &[R], line: impl Fn(&R) -> Markup) -> Markup {
    if rows.is_empty() {
        return html! { p.none { (none) } };
    }
    table(label, columns, rows, line)
}
