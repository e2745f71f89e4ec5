//! The overview's charts: what ended within the hour, how old work gets, what is due in the next days. Drawn here as SVG, without
//! a script or an inline style; each says its gist in words, and has its numbers as a table.

use chrono::{DateTime, Timelike, Utc};
use maud::{Markup, html};
use safelight_jobs::due;

use super::{needs, words};
use crate::{
    error::Error,
    numbers::{self, Numbers},
    state::ApiState,
};

/// The minutes that are shown.
const MINUTES: i32 = 60;
/// Jobs are looked for among so many of the newest.
const LOOKED_AT: i32 = 10_000;
/// The size of a chart in its own units.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 96.0;
/// How jobs end, the lowest part of a bar first.
const OUTCOMES: [(&str, &str); 3] = [("done", "done"), ("cancelled", "cancelled"), ("gave_up", "gave up")];

/// All three.
pub(super) async fn section(state: &ApiState, tenant: Option<&str>, numbers: &Numbers) -> Result<Markup, Error> {
    let pickup = async { Ok(numbers::pickup(&state.pool, tenant).await?) };
    let (finished, pickup, dues) = tokio::try_join!(finished(state, tenant), pickup, dues(state, tenant))?;
    Ok(html! {
        section.charts aria-label="Charts" {
            (finished)
            (ages(numbers, &pickup))
            (dues)
        }
    })
}

/// A chart with its words: a title, the gist, the drawing, and the numbers behind it.
fn figure(id: &str, title: &str, gist: &str, drawing: &Markup, numbers: &Markup) -> Markup {
    let (named, told) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        figure.chart {
            figcaption { (title) }
            svg role="img" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } aria-labelledby=(named) aria-describedby=(told) {
                title id=(named) { (title) }
                desc id=(told) { (gist) }
                (drawing)
            }
            p.small { (gist) }
            details { summary { "As a table" span.hidden { ": " (title) } } div.scroll tabindex="0" role="region" aria-label=(title) { table { (numbers) } } }
        }
    }
}

async fn finished(state: &ApiState, tenant: Option<&str>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select minutes_ago as "ago!", outcome as "outcome!", jobs as "jobs!", since from safelight.finished_numbers($1, $2, $3)"#,
        tenant,
        MINUTES,
        LOOKED_AT
    )
    .fetch_all(&state.pool)
    .await?;
    let mut minutes = vec![[0; OUTCOMES.len()]; usize::try_from(MINUTES).unwrap_or_default()];
    for row in &rows {
        let part = OUTCOMES.iter().position(|(stored, _)| *stored == row.outcome);
        let minute = usize::try_from(row.ago).ok().and_then(|ago| minutes.get_mut(ago));
        if let (Some(minute), Some(part)) = (minute, part) {
            minute[part] += row.jobs;
        }
    }
    let since = rows.first().and_then(|row| row.since);
    Ok(figure(
        "finished",
        "Jobs ended a minute, last hour",
        &gist_of_minutes(&minutes, since),
        &bars_of_minutes(&minutes),
        &html! {
            thead { tr { th scope="col" { "minutes ago" } @for (_, said) in OUTCOMES { th.n scope="col" { (said) } } } }
            tbody { @for (ago, minute) in minutes.iter().enumerate().filter(|(_, minute)| minute.iter().sum::<i64>() > 0) {
                tr { th scope="row" { (ago) } @for jobs in minute { td.n { (jobs) } } }
            } }
        },
    ))
}

fn gist_of_minutes(minutes: &[[i64; OUTCOMES.len()]], since: Option<DateTime<Utc>>) -> String {
    let total = |part: usize| minutes.iter().map(|minute| minute[part]).sum::<i64>();
    let busiest = minutes.iter().map(|minute| minute.iter().sum::<i64>()).max().unwrap_or_default();
    if busiest == 0 {
        return "Nothing ended within the hour.".to_owned();
    }
    let counts: Vec<String> = (0..OUTCOMES.len()).map(|part| format!("{} {}", total(part), OUTCOMES[part].1)).collect();
    let among =
        since.map(|at| format!(" Among the newest {LOOKED_AT} jobs, made since {:02}:{:02}.", at.hour(), at.minute()));
    format!("{}; {busiest} in the busiest minute.{}", counts.join(", "), among.unwrap_or_default())
}

fn bars_of_minutes(minutes: &[[i64; OUTCOMES.len()]]) -> Markup {
    let most = minutes.iter().map(|minute| minute.iter().sum::<i64>()).max().unwrap_or_default().max(1);
    let (step, foot) = (WIDTH / minutes.len().max(1) as f64, HEIGHT - 16.0);
    let high = |jobs: i64| jobs as f64 / most as f64 * (foot - 14.0);
    html! {
        line.axis x1="0" x2=(WIDTH) y1=(foot) y2=(foot) {}
        @for (ago, minute) in minutes.iter().enumerate() {
            @for (part, (class, _)) in OUTCOMES.iter().enumerate() {
                @if minute[part] > 0 {
                    // At least a hairline: one job that gave up is seen among a thousand.
                    @let tall = high(minute[part]).max(1.5);
                    @let below: f64 = minute[..part].iter().map(|jobs| high(*jobs)).sum();
                    rect class=(class) x=(rounded(WIDTH - step * (ago as f64 + 1.0) + 0.6)) width=(rounded(step - 1.2)) y=(rounded(foot - below - tall)) height=(rounded(tall)) {}
                }
            }
        }
        text x="0" y="10" { (most) }
        text x="0" y=(HEIGHT - 3.0) { "an hour ago" }
        text.end x=(WIDTH) y=(HEIGHT - 3.0) { "now" }
    }
}

/// Ages of queues reach from milliseconds to days: each step of the scale is ten times the one before.
fn along(milliseconds: i64, wide: f64) -> f64 {
    // A tenth of a second to ten days.
    const DECADES: f64 = 7.0;
    ((milliseconds.max(1) as f64).log10() - 2.0).clamp(0.0, DECADES) / DECADES * wide
}

fn ages(numbers: &Numbers, pickup: &[numbers::Pickup]) -> Markup {
    const LEFT: f64 = 78.0;
    const RIGHT: f64 = 96.0;
    let p95 = |queue: &str| pickup.iter().find(|one| one.queue == queue).map(|one| one.p95);
    let wide = WIDTH - LEFT - RIGHT;
    let step = HEIGHT / numbers.queues.len().max(1) as f64;
    let said = |age: Option<i64>| age.map_or_else(|| "–".to_owned(), words::age);
    let started = |p95: Option<i64>| p95.map_or_else(|| "–".to_owned(), words::pause);
    let drawing = html! {
        @for (n, queue) in numbers.queues.iter().enumerate() {
            @let y = step * n as f64;
            text x="0" y=(rounded(y + step - 3.5)) { (queue.name) }
            line.axis x1=(LEFT) x2=(LEFT + wide) y1=(rounded(y + step - 2.0)) y2=(rounded(y + step - 2.0)) {}
            @if let Some(seconds) = queue.oldest_seconds {
                rect class=[Some(if seconds > needs::OLD { "gave_up" } else { "age" })] x=(LEFT) width=(rounded(along(seconds * 1000, wide).max(1.5))) y=(rounded(y + 3.0)) height=(rounded(step - 6.0)) {}
            }
            @if let Some(p95) = p95(queue.name) {
                rect.mark x=(rounded(LEFT + along(p95, wide))) width="2" y=(rounded(y + 1.5)) height=(rounded(step - 3.0)) {}
            }
            text.end x=(WIDTH) y=(rounded(y + step - 3.5)) { (said(queue.oldest_seconds)) " · " (started(p95(queue.name))) }
        }
    };
    let oldest = numbers.queues.iter().max_by_key(|queue| queue.oldest_seconds);
    let gist = match oldest.and_then(|queue| queue.oldest_seconds.map(|seconds| (queue.name, seconds))) {
        Some((name, seconds)) => format!(
            "Bar: how long the oldest job has been due; the longest is {} in {name}. Mark: within which 19 of 20 started lately.",
            words::age(seconds)
        ),
        None => match numbers.queues.iter().map(|queue| queue.aside).sum::<i64>() {
            0 => "Nothing is due and waits. Mark: within which 19 of 20 jobs started lately.".to_owned(),
            aside => {
                format!("No ready job waits; {aside} are set aside. Mark: within which 19 of 20 jobs started lately.")
            }
        },
    };
    figure(
        "ages",
        "Age of the queues, and pickup",
        &gist,
        &drawing,
        &html! {
            thead { tr { th scope="col" { "queue" } th.n scope="col" { "oldest due" } th.n scope="col" { "half started within" } th.n scope="col" { "19 of 20" } } }
            tbody { @for queue in &numbers.queues {
                @let one = pickup.iter().find(|one| one.queue == queue.name);
                tr { th scope="row" { (queue.name) } td.n { (said(queue.oldest_seconds)) } td.n { (started(one.map(|one| one.p50))) } td.n { (started(one.map(|one| one.p95))) } }
            } }
        },
    )
}

async fn dues(state: &ApiState, tenant: Option<&str>) -> Result<Markup, Error> {
    let due = due::due(&state.pool, tenant, due::COUNTED).await?;
    let deadlines = sqlx::query!(
        r#"select ceil(extract(epoch from answer_due - safelight.now()) / 86400)::integer as "day!", count(*) as "count!" from (
            select answer_due from safelight.deletions
            where state <> 'complete' and answer_due > safelight.now() and answer_due <= safelight.now() + make_interval(days => $2)
                and ($1::text is null or tenant = $1) order by answer_due limit $3) nearest
        group by 1"#,
        tenant,
        i32::try_from(due::DAYS).unwrap_or(i32::MAX),
        i64::from(due::COUNTED)
    )
    .fetch_all(&state.pool)
    .await?;
    let objects: Vec<i64> = (0..due::DAYS).map(|day| due.iter().map(|line| line.days[day]).sum()).collect();
    let bounded = due.iter().any(|line| line.days.iter().any(|&count| count >= i64::from(due::COUNTED)));
    let deletions: Vec<i64> = (1..=due::DAYS)
        .map(|day| deadlines.iter().find(|row| usize::try_from(row.day) == Ok(day)).map_or(0, |row| row.count))
        .collect();
    let (all, open) = (objects.iter().sum::<i64>(), deletions.iter().sum::<i64>());
    let gist = if all + open == 0 {
        "Nothing reaches its term within seven days, and no open deletion its legal deadline.".to_owned()
    } else {
        let or_more = |bounded: bool| if bounded { " or more" } else { "" };
        format!(
            "{all}{} {} their term within seven days; {open}{} open {} legal deadline.",
            or_more(bounded),
            if all == 1 { "object reaches" } else { "objects reach" },
            or_more(open >= i64::from(due::COUNTED)),
            if open == 1 { "deletion reaches its" } else { "deletions reach their" }
        )
    };
    let most = objects.iter().copied().max().unwrap_or_default().max(1);
    let (step, foot) = (WIDTH / due::DAYS as f64, HEIGHT - 16.0);
    let drawing = html! {
        line.axis x1="0" x2=(WIDTH) y1=(foot) y2=(foot) {}
        @for (day, &count) in objects.iter().enumerate() {
            @let middle = step * (day as f64 + 0.5);
            @let tall = if count == 0 { 0.0 } else { (count as f64 / most as f64 * (foot - 16.0)).max(1.5) };
            rect.done x=(rounded(middle - step * 0.3)) width=(rounded(step * 0.6)) y=(rounded(foot - tall)) height=(rounded(tall)) {}
            @if count > 0 { text.middle x=(rounded(middle)) y=(rounded(foot - tall - 4.0)) { (count) } }
            text.middle x=(rounded(middle)) y=(HEIGHT - 3.0) { "day " (day + 1) @if deletions[day] > 0 { tspan.deadline { " · " (deletions[day]) } } }
        }
    };
    Ok(figure(
        "due",
        "Deletions due, next seven days",
        &gist,
        &drawing,
        &html! {
            thead { tr { th scope="col" { "day" } th.n scope="col" { "objects at their term" } th.n scope="col" { "deletions at their deadline" } } }
            tbody { @for (day, (objects, deletions)) in objects.iter().zip(&deletions).enumerate() {
                tr { th scope="row" { (day + 1) } td.n { (objects) } td.n { (deletions) } }
            } }
        },
    ))
}

/// To a tenth of a unit: nobody sees more.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_of_tens_has_its_ends_and_a_tenth_of_a_second_is_nothing() {
        assert_eq!(along(0, 70.0), 0.0);
        assert_eq!(along(100, 70.0), 0.0);
        assert_eq!(rounded(along(1_000, 70.0)), 10.0);
        assert_eq!(along(i64::MAX, 70.0), 70.0);
    }

    #[test]
    fn one_job_that_gave_up_is_seen_among_a_thousand() {
        let mut minutes = vec![[0; 3]; 60];
        minutes[0] = [1000, 0, 1];
        let drawn = bars_of_minutes(&minutes).into_string();
        assert!(drawn.contains("class=\"gave_up\"") && drawn.contains("height=\"1.5\""), "{drawn}");
        assert_eq!(gist_of_minutes(&minutes, None), "1000 done, 0 cancelled, 1 gave up; 1001 in the busiest minute.");
    }
}
