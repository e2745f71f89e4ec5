//! `safelight completions` and `safelight manual`: what a shell and `man` know of the commands, made from the commands themselves.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

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
        let mut program = program.after_long_help(format!("Exit codes: {CODES}")).disable_help_subcommand(true);
        program.build();
        match &self.folder {
            Some(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
                write_all(program, folder)
            }
            None => {
                write_out(&page(&Man::new(program.clone()), &program)?);
                Ok(())
            }
        }
    }
}

/// A page for this command, and one for each below it.
fn write_all(command: Command, folder: &Path) -> anyhow::Result<()> {
    for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write_all(one.clone(), folder)?;
    }
    let manual = Man::new(command.clone());
    let file = folder.join(manual.get_filename());
    std::fs::write(&file, page(&manual, &command)?).with_context(|| format!("{} cannot be written", file.display()))
}

/// One page, with what the command and those below it read from their environment.
fn page(manual: &Man, command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    manual.render(&mut page)?;
    let mut known = BTreeMap::new();
    variables(command, &mut known);
    if !known.is_empty() {
        let mut section = Roff::new();
        section.control("SH", ["ENVIRONMENT"]);
        for (name, says) in known {
            section.control("TP", []).text([bold(name)]).text([roman(says)]);
        }
        section.to_writer(&mut page)?;
    }
    Ok(page)
}

/// Each variable with what its option says of it; the first that reads it says what it is.
fn variables(command: &Command, known: &mut BTreeMap<String, String>) {
    for argument in command.get_arguments() {
        if let Some(name) = argument.get_env() {
            let says = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
            known.entry(name.to_string_lossy().into_owned()).or_insert(says);
        }
    }
    command.get_subcommands().for_each(|one| variables(one, known));
}
