//! A connection that one task keeps between its statements.
//!
//! A pool asks each connection that comes back whether it is well: two messages, for a task of one short statement after the
//! other as much work as the statement, and at the moment when the job that it found wants the processor.
//!
//! Never: keeps a connection after a statement that failed or was dropped, one that somebody else may be waiting for, or any
//! behind a pooler in transaction mode. Those go back, and the pool finds out about them.

use std::time::{Duration, Instant};

use sqlx::{PgPool, Postgres, pool::PoolConnection};

use super::{Write, Writing, write};

/// One that was not used for so long goes back before the next statement, as a connection in the pool would be asked then.
const FRESH: Duration = Duration::from_secs(1);
/// None is kept longer at a stretch, so that the pool can end those that grow old.
const LONGEST: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Line {
    pool: PgPool,
    kept: Option<PoolConnection<Postgres>>,
    since: Instant,
    used: Instant,
}

impl Line {
    /// A line whose connections are the pool's. Opens nothing yet.
    pub fn of(pool: PgPool) -> Self {
        let now = Instant::now();
        Self { pool, kept: None, since: now, used: now }
    }

    /// A connection for one statement that writes; give it back by [`Self::commit`].
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn write(&mut self) -> Result<Write, sqlx::Error> {
        let good = is_good(self.used.elapsed(), self.since.elapsed());
        if let Some(connection) = self.kept.take().filter(|_| good) {
            return Ok(Write(Writing::Alone(connection)));
        }
        self.since = Instant::now();
        write(&self.pool).await
    }

    /// The statement is carried out, for good.
    ///
    /// # Errors
    /// Those of the commit.
    pub async fn commit(&mut self, write: Write) -> Result<(), sqlx::Error> {
        match write.0 {
            Writing::Alone(connection) => {
                self.used = Instant::now();
                self.kept = Some(connection).filter(|_| self.is_spare());
                Ok(())
            }
            within @ Writing::Within(_) => Write(within).commit().await,
        }
    }

    /// Could anybody else have a connection at once? A pool of one is the line's own.
    fn is_spare(&self) -> bool {
        let most = self.pool.options().get_max_connections();
        most == 1 || self.pool.num_idle() > 0 || self.pool.size() < most
    }
}

/// May a connection that was used so long ago, and is kept for so long, carry one more statement?
fn is_good(unused: Duration, kept: Duration) -> bool {
    unused < FRESH && kept < LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_silent_or_is_old_goes_back_to_the_pool_before_the_next_statement() {
        let moment = Duration::from_millis(1);
        assert!(is_good(Duration::ZERO, Duration::ZERO) && is_good(FRESH - moment, LONGEST - moment));
        assert!(!is_good(FRESH, Duration::ZERO), "the pool would ask it whether it is well");
        assert!(!is_good(Duration::ZERO, LONGEST), "the pool would end it by and by");
    }
}
