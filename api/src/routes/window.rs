//! A page of a table of cases, newest first: of one person, or among the newest so many that a tenant, or the house, has. Each shape is
//! a statement of its own, so that each has a plan of its own.
//!
//! Never: reads a whole history for a rare answer, or tells a tenant an id of another's.

use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, postgres::PgRow};
use uuid::Uuid;

/// How many of the newest rows one page looks through, where no person narrows it.
const WINDOW: i64 = 20_000;

/// What narrows a page.
pub(super) struct Window<'a> {
    /// `orders` or `deletions`.
    pub(super) table: &'static str,
    /// Its columns.
    pub(super) columns: &'static str,
    /// Of one person.
    pub(super) subject: Option<Uuid>,
    /// Of one tenant.
    pub(super) tenant: Option<&'a str>,
    /// A condition, and what it compares with.
    pub(super) state: Option<(&'static str, &'a str)>,
    /// Where the page before ended.
    pub(super) before: Option<Uuid>,
}

impl Window<'_> {
    /// At most so many rows, and how far down was looked: none, to the end.
    pub(super) async fn rows<R>(&self, pool: &PgPool, most: i64) -> Result<(Vec<R>, Option<Uuid>), sqlx::Error>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        // First, and the rows down to it: what is deleted meanwhile makes the window shorter and skips nothing.
        let floor = if self.subject.is_some() { None } else { self.floor(pool).await? };
        let mut query = self.narrowed(self.columns);
        if let Some(floor) = floor {
            query.push(" and id >= ").push_bind(floor);
        }
        if let Some((condition, state)) = self.state {
            query.push(" and ").push(condition).push_bind(state);
        }
        query.push(" order by id desc limit ").push_bind(most);
        Ok((query.build_query_as().fetch_all(pool).await?, floor))
    }

    /// The oldest row of a full window.
    async fn floor(&self, pool: &PgPool) -> Result<Option<Uuid>, sqlx::Error> {
        let mut query = self.narrowed("id");
        query.push(" order by id desc limit 1 offset ").push_bind(WINDOW - 1);
        query.build_query_scalar().fetch_optional(pool).await
    }

    fn narrowed(&self, columns: &str) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new(format!("select {columns} from safelight.{} where true", self.table));
        if let Some(subject) = self.subject {
            query.push(" and subject_id = ").push_bind(subject);
        }
        if let Some(tenant) = self.tenant {
            query.push(" and tenant = ").push_bind(tenant.to_owned());
        }
        if let Some(before) = self.before {
            query.push(" and id < ").push_bind(before);
        }
        query
    }
}
