//! A page of a table of cases, newest first: of one person, or among the newest so many that a tenant, or the house, has. Each shape is
//! a statement of its own, so that each has a plan of its own.
//!
//! Never: reads a whole history for a rare answer, or tells a tenant an id of another's.

use safelight_jobs::{
    id::{Id, Kind, Subject},
    look,
};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, postgres::PgRow};
use uuid::Uuid;

use super::{list_jobs::Part, standing};
use crate::{
    caller::{Read, To},
    error::Error,
    state::ApiState,
};

/// How many of the newest rows one page looks through, where no person narrows it.
const WINDOW: i64 = 20_000;

/// A list of cases.
pub(super) struct Cases<'a> {
    /// `orders` or `deletions`.
    pub(super) table: &'static str,
    /// The columns of one line.
    pub(super) columns: &'static str,
    /// A condition, and what it compares with.
    pub(super) state: Option<(&'static str, &'a str)>,
}

impl Cases<'_> {
    /// A page of it as this caller sees it, of one person or of all, and where the next one goes on. Whose cases are asked for by name
    /// must be the caller's to know, and an operator's look at them is kept.
    pub(super) async fn page<R, K: Kind>(
        &self,
        state: &ApiState,
        caller: &To<Read>,
        subject: Option<String>,
        part: &Part,
        id: impl Fn(&R) -> Id<K>,
    ) -> Result<(Vec<R>, Option<Id<K>>), Error>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let before = part.cursor::<K>()?.map(Id::uuid);
        let subject = super::an_id::<Subject>(subject)?;
        if let Some(subject) = subject {
            standing::is_known(state, subject, caller.sees_only()).await?;
            caller.looks_at(state, &subject.to_string(), look::entry().subject(subject)).await?;
        }
        let window = Window {
            table: self.table,
            columns: self.columns,
            state: self.state,
            subject: subject.map(Id::uuid),
            tenant: caller.sees_only(),
            before,
        };
        let (lines, floor) = window.rows(&state.pool, part.rows()).await?;
        let (lines, next) = part.cut(lines, id);
        Ok((lines, next.or(floor.map(Id::from))))
    }
}

/// What narrows a page.
struct Window<'a> {
    table: &'static str,
    columns: &'static str,
    subject: Option<Uuid>,
    tenant: Option<&'a str>,
    state: Option<(&'static str, &'a str)>,
    /// Where the page before ended.
    before: Option<Uuid>,
}

impl Window<'_> {
    /// At most so many rows, and how far down was looked: none, to the end.
    async fn rows<R>(&self, pool: &PgPool, most: i64) -> Result<(Vec<R>, Option<Uuid>), sqlx::Error>
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
