//! `keepwatch completions SHELL`: a shell's completions, from the one definition of each option.

use super::{Cli, Failure, Outcome, output};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::io::Write as _;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keepwatch completions bash > /etc/bash_completion.d/keepwatch
  keepwatch completions zsh > /usr/share/zsh/site-functions/_keepwatch
  keepwatch completions fish > ~/.config/fish/completions/keepwatch.fish
  source <(keepwatch completions bash)          for this shell only")]
pub(super) struct CompletionsArgs {
    /// The shell that the script is for
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints what the shell sources.
pub(super) fn run(args: &CompletionsArgs) -> Result<Outcome, Failure> {
    // Into memory first: a closed pipe is no reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keepwatch", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Outcome::Fine)
}
