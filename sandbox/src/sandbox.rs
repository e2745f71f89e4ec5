//! All stand-ins together, on one clock.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::control::{Control, ControlDescription};
use crate::fal::{Fal, FalDescription, FalOptions, Oddities};
use crate::resend::{Resend, ResendDescription, ResendOptions};
use crate::sentry::{Sentry, SentryDescription};
use crate::stripe::{Stripe, StripeDescription, StripeOptions};
use crate::supabase::{Supabase, SupabaseDescription, SupabaseOptions};

/// How a sandbox starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Objects of the buckets lie under `buckets/` here. Made when missing; what lies there is found again.
    pub data_dir: PathBuf,
    /// Buckets that exist.
    pub buckets: Vec<String>,
    /// Where Stripe's events go. Can be set later.
    pub stripe_webhook_url: Option<String>,
    /// Where Resend's reports go. Can be set later.
    pub resend_webhook_url: Option<String>,
    /// How long any work at Fal takes.
    pub fal_delay: Duration,
    /// How many requests run at Fal at once; more wait in its queue.
    pub fal_concurrency: usize,
    /// Which of Fal's pictures show nobody, and which are flagged.
    pub fal_oddities: Oddities,
    /// Life of Fal's files when a request asks for none; `None`: for ever.
    pub fal_file_life: Option<Duration>,
    /// Fixed ports; 0: any.
    pub ports: Ports,
}

/// Ports of the stand-ins; 0: any free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// Stripe.
    pub stripe: u16,
    /// Fal: queue, rest, platform, files.
    pub fal: [u16; 4],
    /// Supabase.
    pub supabase: u16,
    /// Resend.
    pub resend: u16,
    /// Sentry.
    pub sentry: u16,
    /// The control API.
    pub control: u16,
}

impl Options {
    /// Fast work, no oddities, no webhooks yet, a bucket `safelight`, any ports.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options {
            data_dir: data_dir.into(),
            buckets: vec!["safelight".to_owned()],
            stripe_webhook_url: None,
            resend_webhook_url: None,
            fal_delay: Duration::from_millis(20),
            fal_concurrency: 40,
            fal_oddities: Oddities::default(),
            fal_file_life: None,
            ports: Ports::default(),
        }
    }
}

/// Every URL, key and secret: what `safelight sandbox --json` prints. The keys open nothing else.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// Stripe.
    pub stripe: StripeDescription,
    /// Fal.
    pub fal: FalDescription,
    /// Supabase.
    pub supabase: SupabaseDescription,
    /// Resend.
    pub resend: ResendDescription,
    /// Sentry.
    pub sentry: SentryDescription,
    /// The control API.
    pub control: ControlDescription,
}

/// The running stand-ins. Clones share them; dropping does not stop them, [`Sandbox::stop`] does.
#[derive(Clone)]
pub struct Sandbox {
    /// Payments.
    pub stripe: Stripe,
    /// Training and pictures.
    pub fal: Fal,
    /// Users and objects.
    pub supabase: Supabase,
    /// Mail.
    pub resend: Resend,
    /// Error reports.
    pub sentry: Sentry,
    clock: Clock,
    control: Control,
    stop: CancellationToken,
}

impl Sandbox {
    /// Starts all stand-ins.
    ///
    /// # Errors
    /// When a fixed port is taken or the data directory cannot be used.
    pub async fn start(options: Options) -> anyhow::Result<Sandbox> {
        let (clock, stop) = (Clock::default(), CancellationToken::new());
        let ports = options.ports;
        let stripe = StripeOptions { webhook_url: options.stripe_webhook_url, port: ports.stripe };
        let resend = ResendOptions { webhook_url: options.resend_webhook_url, port: ports.resend };
        let fal = FalOptions {
            delay: options.fal_delay,
            concurrency: options.fal_concurrency,
            oddities: options.fal_oddities,
            default_file_life: options.fal_file_life,
            ports: ports.fal,
        };
        let data_dir = options.data_dir.join("buckets");
        let supabase = SupabaseOptions { data_dir, buckets: options.buckets, port: ports.supabase };
        let control = Control::bind(ports.control).await?;
        let sandbox = Sandbox {
            stripe: Stripe::start(stripe, clock.clone(), stop.clone()).await?,
            fal: Fal::start(fal, clock.clone(), stop.clone()).await?,
            supabase: Supabase::start(supabase, clock.clone()).await?,
            resend: Resend::start(resend, clock.clone(), stop.clone()).await?,
            sentry: Sentry::start(ports.sentry).await?,
            control: control.clone(),
            clock,
            stop,
        };
        control.serve(&sandbox)?;
        Ok(sandbox)
    }

    /// Every URL, key and secret.
    #[must_use]
    pub fn description(&self) -> Description {
        Description {
            stripe: self.stripe.description(),
            fal: self.fal.description(),
            supabase: self.supabase.description(),
            resend: self.resend.description(),
            sentry: self.sentry.description(),
            control: self.control.description(),
        }
    }

    /// The clock that decides what has expired here.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Turns the clock; what is over by then is over at once. Returns the new now.
    pub fn turn_clock(&self, by: chrono::Duration) -> chrono::DateTime<chrono::Utc> {
        let now = self.clock.turn(by);
        self.stripe.look_at_the_clock();
        self.fal.look_at_the_clock();
        self.resend.look_at_the_clock();
        now
    }

    /// Returns when nothing is in work at Fal and no webhook of anybody is under way.
    pub async fn idle(&self) {
        self.fal.idle().await;
        self.stripe.idle().await;
        self.resend.idle().await;
    }

    /// Stops everything: work in progress, webhooks, listeners.
    pub async fn stop(self) {
        self.stop.cancel();
        self.stripe.take_down().await;
        self.fal.take_down().await;
        self.supabase.take_down().await;
        self.resend.take_down().await;
        self.sentry.take_down().await;
        self.control.take_down().await;
    }
}
