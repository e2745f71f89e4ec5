//! Copies at Fal that are to go and that no job drives any more: a job was cancelled, or ended before its call was known.

use super::Look;
use crate::{
    id::{Id, Intent},
    purge_call::PurgeCall,
    queue::Wish,
    stop::Stop,
};

/// Calls of one run; the rest is the next one's.
const AT_ONCE: i64 = 500;

/// Enqueue the purge of each again.
pub(super) async fn drive(look: &mut Look<'_>) -> Result<(), Stop> {
    let left = sqlx::query_scalar!(
        r#"select c.id from safelight.provider_calls c
        where c.purge in ('wanted', 'failed') and c.request_id is not null and c.processor = 'fal'
            and not exists (select from safelight.jobs j where j.queue = 'deletion' and j.kind = 'purge_call'
                and j.payload ->> 'call' = 'intent_' || replace(c.id::text, '-', ''))
        order by c.created_at, c.id limit $1"#,
        AT_ONCE
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    for call in left {
        let call = Id::<Intent>::from(call);
        let mut wish = Wish::of(&PurgeCall { call }).map_err(|error| Stop::retry("payload", error))?;
        // A wish of its own: the key of the first one outlives its job.
        wish.key = format!("{}:again:{}", wish.key, look.because);
        let mut tx = look.run.begin().await?;
        let enqueued = wish.enqueue(&mut tx).await?;
        tx.ring(enqueued.queue);
        tx.commit().await?;
        look.mended += i64::from(!enqueued.already);
    }
    Ok(())
}
