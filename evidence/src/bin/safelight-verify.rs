//! `safelight-verify`: the checker as a program of its own, for somebody who has files and a public key and trusts nobody.
//!
//! Exit codes: 0 verified, 1 could not check, 2 not asked correctly, 3 unverified, 4 broken.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program's answer")]

use std::process::ExitCode;

use safelight_evidence::check::{Question, check};

const USAGE: &str =
    "safelight-verify [EXPORT] --key KEY [--key KEY ...] [--checkpoints PLACE ...] [--certificate FILE ...] [--json]

  EXPORT         a folder that `safelight audit export` wrote
  --key          the log's public key (name+id+base64), or a file of such lines; also keys of before
  --checkpoints  a file or folder of checkpoints that were kept outside the database
  --certificate  the JSON file of a deletion's certificate
  --json         the answer as JSON

0 verified, 1 could not check, 2 not asked correctly, 3 unverified (nothing from outside covers it), 4 broken";

fn main() -> ExitCode {
    let Some((question, json)) = asked(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match check(&question) {
        Ok(answer) => {
            let text = if json { serde_json::to_string(&answer).ok() } else { Some(answer.to_string()) };
            println!("{}", text.unwrap_or_default());
            ExitCode::from(answer.verdict.exit_code())
        }
        Err(why) => {
            eprintln!("safelight-verify: {why}");
            ExitCode::FAILURE
        }
    }
}

fn asked(mut words: impl Iterator<Item = String>) -> Option<(Question, bool)> {
    let (mut question, mut json) = (Question::default(), false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--key" => question.keys.push(words.next()?),
            "--checkpoints" => question.outside.push(words.next()?.into()),
            "--certificate" => question.certificates.push(words.next()?.into()),
            "--json" => json = true,
            other if !other.starts_with('-') && question.export.is_none() => question.export = Some(other.into()),
            _ => return None,
        }
    }
    Some((question, json))
}
