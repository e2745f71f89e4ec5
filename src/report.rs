//! `safelight report`: every clause of the privacy policies as kept, unkept or not software.

use clap::Args;

#[derive(Debug, Args)]
pub struct Report {}

impl Report {
    pub fn run(self) -> anyhow::Result<()> {
        Ok(())
    }
}
