//! `safelight completions` and `safelight manual`: what a shell and `man` know of the commands, made from the commands themselves.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::process::unwritten;

/// Exit codes, as docs/operations.md has them.
const CODES: &str = "0 done; 1 a fault; 2 wrong use; 3 unverified, and 4 broken, of `audit verify` and `restore`; 5 there is no such thing; \
    6 it is there, and stands where this means nothing, or must be seen to its end; 7 not confirmed.";

fn write_out(text: &[u8]) {
    if let Err(error) = std::io::stdout().lock().write_all(text) {
        unwritten(&error);
    }
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut program: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "safelight", &mut script);
        write_out(&script);
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Write a page for each command into this folder; without it the first page is printed
    folder: Option<PathBuf>,
}

impl Manual {
    pub(crate) fn run(&self, program: Command) -> anyhow::Result<()> {
        let program = program.after_long_help(format!("Exit codes: {CODES}"));
        match &self.folder {
            Some(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
                Ok(clap_mangen::generate_to(program, folder)?)
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(program).render(&mut page)?;
                write_out(&page);
                Ok(())
            }
        }
    }
}
