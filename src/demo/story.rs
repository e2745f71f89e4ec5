//! What happens in the demo, in order.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use safelight_sandbox::photos::{Selfie, selfies};
use serde_json::Value;

use super::{backend::Backend, house::House, summary::Summary, timeline::Timeline};

/// The longest that any wait of the demo lasts.
const PATIENCE: Duration = Duration::from_secs(60);
const PHOTOGRAPH: &[u8] = include_bytes!("../../photos/astronaut.png");

pub(crate) async fn tell(house: &House, json: bool, kill_worker: bool) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let mut timeline = Timeline::new(house.db.clone(), json);
    let (ko, halo) = (Backend::new(house, "koselfie")?, Backend::new(house, "haloprofile")?);
    let photos = tokio::task::spawn_blocking(|| selfies(PHOTOGRAPH, 12)).await??;

    timeline.heading("KoSelfie: a person signs up, uploads photos, consents, and buys Pro");
    let ann = ko.register("ann.portrait@mail.example", "Ann Portrait").await?;
    ko.consent(&ann, "compare", "sign_up", None).await?;
    let ann_batch = ko.batch(&ann).await?;
    for photo in &photos[..10] {
        let refused = ko.upload(&ann_batch, photo).await?;
        anyhow::ensure!(refused.is_none(), "a photograph was refused: {refused:?}");
        timeline.follow().await?;
    }
    let text_file = Selfie { content_type: "image/jpeg", bytes: b"this is a text file named holiday.jpg".to_vec() };
    let refused = ko.upload(&ann_batch, &text_file).await?.context("a text file was taken for a photo")?;
    ko.consent(&ann, "compare", "upload", Some(("batch", &ann_batch))).await?;
    let (ann_order, ann_session) = ko.order(&ann, &ann_batch, "pro", true).await?;

    timeline.follow().await?;
    timeline.heading("HaloProfile: another person, the same engine, another policy");
    let bob = halo.register("bob.profile@mail.example", "Bob Profile").await?;
    let bob_batch = halo.batch(&bob).await?;
    for photo in photos.iter().rev().take(8) {
        halo.upload(&bob_batch, photo).await?;
    }
    let (bob_order, bob_session) = halo.order(&bob, &bob_batch, "pro", false).await?;

    timeline.follow().await?;
    timeline.heading("Both pay; Stripe calls back");
    house.sandbox.stripe.pay(&ann_session)?;
    house.sandbox.stripe.pay(&bob_session)?;
    if kill_worker {
        wait(&mut timeline, "Fal trains", || async { Ok(house.sandbox.fal.trainings() > 0) }).await?;
        house.kill_the_worker().await?;
        timeline.heading("kill -9: the worker is dead, another one starts");
    }
    let delivered = wait(&mut timeline, "orders are under way", || async {
        let (ann, bob) =
            (ko.get(&format!("/v1/orders/{ann_order}")).await?, halo.get(&format!("/v1/orders/{bob_order}")).await?);
        for order in [&ann, &bob] {
            let state = order["state"].as_str().unwrap_or_default();
            if matches!(state, "refused" | "refund_review" | "expired") {
                bail!("{} is {state}: {}", order["order"], order["problem"]);
            }
        }
        Ok(ann["state"] == "delivered" && bob["state"] == "delivered")
    })
    .await;
    timeline.follow().await?;
    delivered?;
    let settled = "select count(*) = 0 from safelight.jobs where queue <> 'sweeps'";
    wait(&mut timeline, "copies at Fal are deleted, mail goes out", || truth(house, settled)).await?;

    let mut summary = Summary::begin(house, refused).await?;
    summary.orders =
        vec![ko.get(&format!("/v1/orders/{ann_order}")).await?, halo.get(&format!("/v1/orders/{bob_order}")).await?];
    summary.count_calls(house);
    summary.jobs(house).await?;

    timeline.heading("Thirty days later");
    house.turn_clock(chrono::Duration::hours(720) + chrono::Duration::minutes(2)).await?;
    let readable: Vec<Value> =
        ko.get(&format!("/v1/orders/{ann_order}")).await?["images"].as_array().cloned().unwrap_or_default();
    summary.unreadable_at_once = !readable.iter().any(|image| image["url"].is_string());
    sweep(house).await?;
    wait(&mut timeline, "what is due is deleted and looked for", || {
        truth(house, "select count(*) = 0 from safelight.artifacts where tenant = 'koselfie'")
    })
    .await?;
    wait(&mut timeline, "deletions come to their end", || {
        truth(house, "select count(*) = 0 from safelight.deletions where state <> 'complete'")
    })
    .await?;
    summary.after_thirty_days(house).await?;

    timeline.heading("HaloProfile keeps until erasure: now the person asks for it");
    let deletion = halo.erase(&bob).await?;
    wait(&mut timeline, "the erasure goes through every place", || async {
        let steps =
            halo.get(&format!("/v1/deletions/{deletion}")).await?["steps"].as_array().cloned().unwrap_or_default();
        let open = steps.iter().filter(|step| !matches!(step["state"].as_str(), Some("verified" | "retained_by_law")));
        Ok(!steps.is_empty() && open.count() == 1)
    })
    .await?;
    timeline.heading("Two hours later nobody can write late any more: everything is looked at again");
    house.turn_clock(chrono::Duration::hours(2)).await?;
    let erased = wait(&mut timeline, "the second look", || async {
        Ok(halo.get(&format!("/v1/deletions/{deletion}")).await?["state"] == "complete")
    })
    .await;
    timeline.follow().await?;
    erased?;
    summary.erasure = halo.get(&format!("/v1/deletions/{deletion}")).await?;
    summary.finish(house, &timeline, began.elapsed()).await?;
    Ok(summary)
}

async fn sweep(house: &House) -> anyhow::Result<()> {
    reqwest::Client::new()
        .get(format!("{}/sweeps/retention", house.url))
        .bearer_auth(&house.cron_secret)
        .send()
        .await?
        .error_for_status()
        .context("the sweep endpoint did not answer")?;
    Ok(())
}

async fn truth(house: &House, sql: &'static str) -> anyhow::Result<bool> {
    Ok(sqlx::query_scalar(sql).fetch_one(&house.db).await?)
}

/// Look until it is so, with the timeline going on meanwhile.
async fn wait<F, Fut>(timeline: &mut Timeline, what: &str, so: F) -> anyhow::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<bool>>,
{
    let began = Instant::now();
    loop {
        timeline.follow().await?;
        if so().await? {
            timeline.follow().await?;
            return Ok(());
        }
        let waited = began.elapsed();
        anyhow::ensure!(waited < PATIENCE, "waited {} seconds, and still: {what}", waited.as_secs());
        timeline.waiting(what, waited.as_secs_f64() / 20.0);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}
