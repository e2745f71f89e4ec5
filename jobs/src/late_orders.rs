//! Orders that were paid a while ago and have not come to an end: what an operator is called for. Those of somebody restricted wait for
//! their release, and are none of them. Reads only.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::{
    id::{Id, Order},
    place::{self, Place},
};

/// One of them.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LateOrder {
    /// Which.
    pub order: Id<Order>,
    /// Of which tenant.
    pub tenant: String,
    /// Its plan.
    pub plan: String,
    /// `paid`, `training` or `generating`.
    pub state: String,
    /// Since when.
    pub paid_at: DateTime<Utc>,
    /// What the first of its jobs waits for; none: no job of it is there, and it waits for a provider.
    pub waits: Option<String>,
}

impl LateOrder {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.paid_at, self.order.uuid())
    }
}

/// Those that were paid two hours ago or earlier, the first paid first, after a place of [`LateOrder::place`], at most so many.
///
/// # Errors
/// Those of the database.
pub async fn late_orders(
    pool: &PgPool,
    tenant: Option<&str>,
    after: Option<Place>,
    most: i64,
) -> Result<Vec<LateOrder>, sqlx::Error> {
    let (at, id) = place::halves(after);
    sqlx::query_as!(
        LateOrder,
        r#"select late.id as "order!", late.tenant as "tenant!", late.plan as "plan!", late.state as "state!", late.paid_at as "paid_at!",
            e.code as "waits?"
        from (select o.id, o.tenant, o.plan, o.state, o.paid_at from safelight.orders o
            where o.state in ('paid', 'training', 'generating') and o.paid_at < safelight.now() - interval '2 hours'
                and ($1::text is null or o.tenant = $1) and ($2::timestamptz is null or (o.paid_at, o.id) > ($2, $3::uuid))
                and not exists (select from safelight.subjects s where s.id = o.subject_id and s.state = 'restricted')
            order by o.paid_at, o.id limit $4) late
        left join lateral (select j.id from safelight.jobs j where j.order_id = late.id order by j.state = 1 desc, j.run_at, j.id limit 1) j on true
        left join lateral safelight.explain_job(j.id) e on j.id is not null
        order by late.paid_at, late.id"#,
        tenant,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await
}
