//! Tests of the queue and of what every job promises: leases, fences, crashes, second runs, closed gates.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what is wrong by failing")]
#![expect(dead_code, unused_imports, unreachable_pub, reason = "the harness serves two programs")]

#[path = "engine/acts.rs"]
mod acts;
mod app;
#[path = "engine/awake.rs"]
mod awake;
#[path = "engine/bell.rs"]
mod bell;
#[path = "engine/bulk.rs"]
mod bulk;
#[path = "engine/chaos.rs"]
mod chaos;
#[path = "engine/chaos_checker.rs"]
mod chaos_checker;
#[path = "engine/chaos_house.rs"]
mod chaos_house;
#[path = "engine/chaos_ledger.rs"]
mod chaos_ledger;
#[path = "engine/checkpoints.rs"]
mod checkpoints;
#[path = "engine/command_words.rs"]
mod command_words;
#[path = "engine/commands.rs"]
mod commands;
#[path = "engine/complaints.rs"]
mod complaints;
#[path = "engine/control.rs"]
mod control;
#[path = "engine/enqueue.rs"]
mod enqueue;
#[path = "engine/failures/mod.rs"]
mod failures;
#[path = "engine/far_away.rs"]
mod far_away;
#[path = "engine/fleet.rs"]
mod fleet;
#[path = "engine/foreign_bytes/mod.rs"]
mod foreign_bytes;
#[path = "engine/gather.rs"]
mod gather;
#[path = "engine/guides.rs"]
mod guides;
#[path = "engine/leases.rs"]
mod leases;
#[path = "engine/lines.rs"]
mod lines;
#[path = "engine/list_pages.rs"]
mod list_pages;
#[path = "engine/looks.rs"]
mod looks;
#[path = "engine/neighbours.rs"]
mod neighbours;
#[path = "engine/orders.rs"]
mod orders;
#[path = "engine/payloads.rs"]
mod payloads;
#[path = "engine/plans.rs"]
mod plans;
#[path = "engine/pools.rs"]
mod pools;
#[path = "engine/processes.rs"]
mod processes;
#[path = "engine/properties.rs"]
mod properties;
#[path = "engine/reports.rs"]
mod reports;
#[path = "engine/sealer.rs"]
mod sealer;
#[path = "engine/situations.rs"]
mod situations;
#[path = "engine/starts.rs"]
mod starts;
#[path = "engine/strangers.rs"]
mod strangers;
#[path = "engine/traces.rs"]
mod traces;
#[path = "engine/upgrade.rs"]
mod upgrade;
#[path = "engine/upkeep.rs"]
mod upkeep;
#[path = "engine/wrong_clocks.rs"]
mod wrong_clocks;
