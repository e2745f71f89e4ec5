//! `safelight`: one binary, every command. What a person reads is printed here and nowhere else.

mod audit;
mod bench;
mod case;
mod certificate;
mod config;
mod control;
mod cron;
mod dead;
mod delete;
mod deletions;
mod export;
mod job;
mod jobs;
mod key;
mod lists;
mod manual;
mod migrate;
mod objection;
mod operator;
mod order;
mod policy;
mod process;
mod provider;
mod queue;
mod refund;
mod register;
mod report;
mod restore;
mod schedule;
mod serve;
mod sweep;
mod token;
mod traces;
mod words;
mod work;

#[cfg(feature = "sandbox")]
mod demo;
#[cfg(feature = "sandbox")]
mod sandbox;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// The job system for AI photo services whose privacy policy is part of the program.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// What is logged: error, warn, info, debug, or filters as in RUST_LOG
    #[arg(long, env = "SAFELIGHT_LOG", default_value = "info", global = true)]
    log: String,
    /// Log as JSON, one object a line
    #[arg(long, env = "SAFELIGHT_LOG_JSON", global = true)]
    log_json: bool,
    /// A collector of traces, for example http://127.0.0.1:4318: the intake's and the worker's spans go there (OTLP over HTTP)
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true)]
    otlp_endpoint: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP intake and the operators' console
    Api(Box<serve::Api>),
    /// Run jobs
    Worker(Box<work::Worker>),
    /// Tick the schedule
    Cron(cron::Cron),
    /// Bring the schema up to date and install the policies
    Migrate(migrate::Migrate),
    /// Enqueue a sweep now
    Sweep(sweep::Sweep),
    /// Give money back, or list what waits for that decision
    Refund(refund::Refund),
    /// What people ask for by mail or letter, and until when an answer is due
    Case(case::CaseCommand),
    /// Delete one photo or image, or what is left of an order that failed
    Delete(delete::Delete),
    /// What people object to, and the decision about it
    Objection(objection::ObjectionCommand),
    /// Have a person's data written down for them, and see what became of it
    Export(export::Export),
    /// Look at the providers and at calls whose outcome nobody knows, and say what became of them
    Provider(provider::Provider),
    /// Pause, limit and resume queues, kinds, tenants and providers
    Control(control::Control),
    /// What stands in the queues
    Queue(queue::Queue),
    /// Explain, cancel, hold and release one job, and read its payload
    Job(job::JobCommand),
    /// Find jobs, and act on all that match
    Jobs(jobs::Jobs),
    /// Orders: the newest, the late ones, and how one stands
    Order(order::OrderCommand),
    /// Look at dead letters and redrive them
    Dead(dead::Dead),
    /// Open deletions by their legal deadline, and the steps of one
    Deletions(deletions::Deletions),
    /// The master key that wraps the keys of persons: look, and replace it
    Key(key::Key),
    /// What runs at set times
    Schedule(schedule::ScheduleCommand),
    /// Make, list and revoke tokens of the HTTP intake
    Token(token::Token),
    /// Look at the tenants' policies
    Policy(policy::PolicyCommand),
    /// Print the register of processing activities (GDPR Art. 30)
    Register(register::Register),
    /// Print every clause of the privacy policies as kept, unkept or not software
    Report(report::Report),
    /// The sealed audit log: make its key, seal, export, verify
    Audit(audit::Audit),
    /// Print the certificate of a finished deletion
    Certificate(certificate::Certificate),
    /// After a backup was restored: compare with the erasure ledger, and replay
    Restore(restore::Restore),
    /// Measure the queue
    Bench(bench::Bench),
    /// Print what a shell completes
    Completions(manual::Completions),
    /// Print the manual page, or write one for each command
    Manual(manual::Manual),
    /// Run stand-ins of all providers, for development
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::SandboxCommand),
    /// Run two orders through their whole life on embedded defaults
    #[cfg(feature = "sandbox")]
    Demo(demo::Demo),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let traces = match cli.traces() {
        Ok(traces) => traces,
        Err(error) => return process::sorry(&error),
    };
    process::log(&cli.log, cli.log_json, traces.as_ref());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return process::sorry(&anyhow::anyhow!(error).context("the runtime could not start")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Api(command) => command.run().await,
            Command::Worker(command) => command.run().await,
            Command::Cron(command) => command.run().await,
            Command::Migrate(command) => command.run().await,
            Command::Sweep(command) => command.run().await,
            Command::Refund(command) => command.run().await,
            Command::Case(command) => command.run().await,
            Command::Delete(command) => command.run().await,
            Command::Export(command) => command.run().await,
            Command::Objection(command) => command.run().await,
            Command::Provider(command) => command.run().await,
            Command::Control(command) => command.run().await,
            Command::Job(command) => command.run().await,
            Command::Jobs(command) => command.run().await,
            Command::Order(command) => command.run().await,
            Command::Dead(command) => command.run().await,
            Command::Queue(command) => command.run().await,
            Command::Deletions(command) => command.run().await,
            Command::Key(command) => command.run().await,
            Command::Schedule(command) => command.run().await,
            Command::Token(command) => command.run().await,
            Command::Policy(command) => command.run().await,
            Command::Register(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Audit(command) => command.run().await,
            Command::Certificate(command) => command.run().await,
            Command::Restore(command) => command.run().await,
            Command::Bench(command) => command.run().await,
            Command::Completions(command) => command.run(Cli::command()),
            Command::Manual(command) => command.run(Cli::command()),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(command) => command.run().await,
            #[cfg(feature = "sandbox")]
            Command::Demo(command) => command.run().await,
        }
    });
    drop(traces); // what is under way is delivered first
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::sorry(&error),
    }
}

impl Cli {
    /// Of the processes that serve and work; a command's answer is no trace.
    fn traces(&self) -> anyhow::Result<Option<traces::Traces>> {
        let part = match self.command {
            Command::Api(_) => "safelight-api",
            Command::Worker(_) => "safelight-worker",
            _ => return Ok(None),
        };
        let endpoint = self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        endpoint.map(|endpoint| traces::Traces::to(endpoint, part)).transpose()
    }
}
