//! What every process does: log, stop on a signal, and say in one sentence why it could not go on.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use safelight_jobs::{db, sealer};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config, operator, traces::Traces};

/// Set by a parent that holds the process by its standard input.
pub(crate) const STOP_WITH_STDIN: &str = "SAFELIGHT_STOP_WITH_STDIN";

/// Log to standard error; standard output belongs to a command's answer. Spans go to a collector as well, if there is one.
pub(crate) fn log(filter: &str, json: bool, traces: Option<&Traces>) {
    // The runtime's own lines say nothing that ours do not.
    let filter = EnvFilter::try_new(format!("apalis_core=warn,sqlx::postgres::notice=error,{filter}"))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(traces.map(Traces::layer));
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_coloured());
    if json {
        registry.with(text.json().with_filter(filter)).init();
    } else {
        registry.with(text.with_target(false).compact().with_filter(filter)).init();
    }
}

/// Colours are for a person who has not asked for none (no-color.org).
fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Cancelled by the first SIGINT or SIGTERM, and, for a process that another one holds by its standard input, when that
/// one is gone, however it went.
pub(crate) fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    if std::env::var_os(STOP_WITH_STDIN).is_some() {
        let gone = stop.clone();
        // A thread: reading standard input cannot be given up, and must not hold the runtime's end.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            gone.cancel();
        });
    }
    let signalled = stop.clone();
    tokio::spawn(async move {
        let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(term) => term,
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard");
                return;
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
        signalled.cancel();
    });
    stop
}

/// Seal the audit log beside what this process does, if it has the log's key. The future ends when the sealer has ended.
pub(crate) async fn seal_beside(
    sealing: &config::Sealing,
    address: db::Address,
    stop: &CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let task = match sealing.sealer()? {
        Some(sealer) => {
            let pool = db::connect_sealer(address, 2).await?;
            Some(tokio::spawn(sealer::run(pool, sealer, stop.clone())))
        }
        None => {
            tracing::info!("without SAFELIGHT_LOG_KEY this process does not seal the audit log");
            None
        }
    };
    Ok(async move {
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the sealer ended badly");
        }
    })
}

/// A command that has given its whole answer, which is not "all is well": it ends with this code and says nothing more.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) u8);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer is code {}", self.0)
    }
}

impl std::error::Error for Said {}

/// The error and its causes as one line for a person.
#[expect(clippy::print_stderr, reason = "the last word of a command, also when nothing is logged")]
pub(crate) fn sorry(error: &anyhow::Error) -> ExitCode {
    if let Some(Said(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    eprintln!("safelight: {error:#}");
    operator::exit_code(error).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// A line of a command's answer. Who reads no further has had enough; where it cannot be written the command ends, and says so.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        unwritten(&error);
    }
}

/// The answer cannot be written: nothing more is done.
pub(crate) fn unwritten(error: &std::io::Error) -> ! {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    remark(format_args!(
        "safelight: the answer could not be written to standard output: {error}. What was asked for may be done: look before you ask again"
    ));
    std::process::exit(1);
}

/// A line for the person beside the answer, which machines do not read.
#[expect(clippy::print_stderr, reason = "what is said to a person is no part of the answer")]
pub(crate) fn remark(line: impl std::fmt::Display) {
    eprintln!("{line}");
}
