//! A look at one person's case over HTTP by somebody who may operate: kept with who and what for, as in the console.
//!
//! What for stands in the header `safelight-why`. A token without `operate` is a backend's that shows its own customers their own
//! things, or an auditor's that checks evidence: neither is asked, and neither is kept.

use axum::http::HeaderMap;
use safelight_jobs::{
    audit::Entry,
    db,
    id::{self, Id},
    look,
    queue::search::Wanted,
};
use utoipa::IntoParams;

use crate::{caller::To, error::Error, state::ApiState, tokens::Scope};

/// Where a request says what for.
const HEADER: &str = "safelight-why";

/// The header, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header that the token's extractor reads")]
pub(crate) struct WhatFor {
    /// What for, in a few words, without anything about a person. Needed from a token with the scope `operate`, whose look at one
    /// person's case is kept with it.
    #[param(rename = "safelight-why")]
    why: Option<String>,
}

/// What for, as the request says it; nothing where it does not.
pub(crate) fn said(headers: &HeaderMap) -> String {
    headers.get(HEADER).and_then(|why| std::str::from_utf8(why.as_bytes()).ok()).unwrap_or_default().to_owned()
}

impl<N> To<N> {
    /// Keep a look at one case before it is answered.
    pub(crate) async fn looks_at(&self, state: &ApiState, what: &str, entry: Entry) -> Result<(), Error> {
        if !self.asked()? {
            return Ok(());
        }
        let mut tx = db::begin(&state.pool).await?;
        look::at_case(&mut tx, what, entry, self.operator(&self.why)).await?;
        Ok(tx.commit().await?)
    }

    /// Keep a look at one job.
    pub(crate) async fn looks_at_job(&self, state: &ApiState, job: Id<id::Job>) -> Result<(), Error> {
        if !self.asked()? {
            return Ok(());
        }
        let mut tx = db::begin(&state.pool).await?;
        look::at_job(&mut tx, job, self.operator(&self.why)).await?;
        Ok(tx.commit().await?)
    }

    /// Keep a look for the jobs of one person or order, or for one job.
    pub(crate) async fn looks_for(&self, state: &ApiState, wanted: &Wanted) -> Result<(), Error> {
        if !look::is_one(wanted) || !self.asked()? {
            return Ok(());
        }
        let mut tx = db::begin(&state.pool).await?;
        look::at_search(&mut tx, wanted, self.operator(&self.why)).await?;
        Ok(tx.commit().await?)
    }

    /// Is this a look that is kept? One that says nothing is refused.
    fn asked(&self) -> Result<bool, Error> {
        if !self.may(Scope::Operate) {
            return Ok(false);
        }
        let why = || {
            format!(
                "a token with the scope operate says in the header `{HEADER}` what it looks at one person's case for"
            )
        };
        if self.why.trim().is_empty() { Err(Error::Invalid { code: "reason_missing", why: why() }) } else { Ok(true) }
    }
}
