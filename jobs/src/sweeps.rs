//! Asking for a sweep by its name: one list for the command line, the cron's routes and the console. Each enqueues one job for one
//! `because`, however often it is asked for. What is due the sweep asks the rows itself.

use crate::{
    expire_consents::ExpireConsents,
    prune_history::PruneHistory,
    queue::{EnqueueError, Enqueued},
    reconcile_calls::ReconcileCalls,
    reconcile_money::ReconcileMoney,
    run::Tx,
    sweep_deletions::SweepDeletions,
    sweep_fiscal::SweepFiscal,
    sweep_orphans::SweepOrphans,
    sweep_retention::SweepRetention,
    tell_policies::TellPolicies,
};

/// Which sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// What is due by its clock.
    Retention,
    /// Open deletions: those that nobody works on, those that are stuck.
    Deletions,
    /// Objects without a row, rows without an object.
    Orphans,
    /// Provider calls without news, and paid orders that stand still.
    Reconcile,
    /// Consents of checkouts that nobody paid.
    Consents,
    /// Our books and calls against Stripe's and Fal's lists.
    Money,
    /// Sales that tax law asks for no longer, and orders that nobody paid.
    Fiscal,
    /// Finished jobs, attempts and keys that are too old.
    History,
    /// Policies that are told by mail: whom they have not reached.
    Notices,
}

impl Sweep {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Retention,
        Self::Deletions,
        Self::Orphans,
        Self::Reconcile,
        Self::Consents,
        Self::Money,
        Self::Fiscal,
        Self::History,
        Self::Notices,
    ];

    /// Its name, as addresses and commands spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Deletions => "deletions",
            Self::Orphans => "orphans",
            Self::Reconcile => "reconcile",
            Self::Consents => "consents",
            Self::Money => "money",
            Self::Fiscal => "fiscal",
            Self::History => "history",
            Self::Notices => "notices",
        }
    }

    /// What it looks for.
    pub const fn looks_for(self) -> &'static str {
        match self {
            Self::Retention => "what is due by its clock",
            Self::Deletions => "open deletions that nobody works on, and those that are stuck",
            Self::Orphans => "objects without a row, rows without an object",
            Self::Reconcile => "provider calls without news, and paid orders that stand still",
            Self::Consents => "consents of checkouts that nobody paid",
            Self::Money => "our books and calls against the lists of Stripe and Fal",
            Self::Fiscal => "sales that tax law asks for no longer, and orders that nobody paid",
            Self::History => "finished jobs, attempts and keys that are too old",
            Self::Notices => "policies that are told by mail: whom they have not reached",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sweep| sweep.as_str() == name)
    }

    /// Enqueue it. `hours`: how far back money is compared; three days if none.
    pub async fn ask(self, tx: &mut Tx, because: String, hours: Option<u32>) -> Result<Enqueued, EnqueueError> {
        match self {
            Self::Retention => tx.enqueue(&SweepRetention { because }).await,
            Self::Deletions => tx.enqueue(&SweepDeletions { because }).await,
            Self::Orphans => tx.enqueue(&SweepOrphans { because, most: None }).await,
            Self::Reconcile => tx.enqueue(&ReconcileCalls { because, grace_seconds: None }).await,
            Self::Consents => tx.enqueue(&ExpireConsents { because }).await,
            Self::Money => tx.enqueue(&ReconcileMoney { because, hours }).await,
            Self::Fiscal => tx.enqueue(&SweepFiscal { because }).await,
            Self::History => tx.enqueue(&PruneHistory { because }).await,
            Self::Notices => tx.enqueue(&TellPolicies { because }).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sweep_is_found_by_its_name() {
        assert!(Sweep::ALL.into_iter().all(|sweep| Sweep::named(sweep.as_str()) == Some(sweep)));
        assert_eq!(Sweep::named("everything"), None);
    }
}
