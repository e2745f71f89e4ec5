//! Tests of the queue and of what every job promises: leases, fences, crashes, second runs, closed gates.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what is wrong by failing")]
#![expect(dead_code, reason = "the harness serves two programs")]

mod app;
