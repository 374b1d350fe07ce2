//! `keepwatch completions SHELL` and `keepwatch man FOLDER`: what shells and `man` are given, from the
//! one definition of each option.

use super::{Cli, Failure, Outcome, output};
use crate::files;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::{io::Write as _, path::PathBuf};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keepwatch completions bash > /etc/bash_completion.d/keepwatch
  keepwatch completions zsh > /usr/share/zsh/site-functions/_keepwatch
  keepwatch completions fish > ~/.config/fish/completions/keepwatch.fish
  source <(keepwatch completions bash)          for this shell only")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keepwatch man /usr/local/share/man/man1
  man keepwatch-sockets")]
pub(super) struct ManArgs {
    /// An existing folder
    folder: PathBuf,
}

/// Prints what the shell sources.
pub(super) fn completions(args: &CompletionsArgs) -> Result<Outcome, Failure> {
    // Into memory first: a closed pipe is no reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keepwatch", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Outcome::Fine)
}

/// Writes a page for keepwatch and one for each of its commands.
pub(super) fn man(args: &ManArgs) -> Result<Outcome, Failure> {
    for (name, page) in pages()? {
        let file = args.folder.join(&name);
        let mut out = match files::output(&file) {
            Ok(out) => out,
            Err(cause) => return Err(Failure::Place { file, cause }),
        };
        out.write_all(&page)?;
    }
    Ok(Outcome::Fine)
}

/// The name and the text of each page.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
    for command in shown.chain([&root]) {
        let name = command.get_display_name().unwrap_or("keepwatch").to_owned();
        let mut page = Vec::new();
        // As one block: roff would make one paragraph of all the examples.
        let about = command.get_after_help().map(ToString::to_string);
        let bare = command.clone().name(name.clone()).after_help("");
        let man = clap_mangen::Man::new(bare).manual("keepwatch").date("");
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        if let Some(about) = about {
            page.extend(verbatim("NOTES", &about).as_bytes());
        }
        pages.push((format!("{name}.1"), page));
    }
    Ok(pages)
}

/// A section of lines as they are.
fn verbatim(heading: &str, text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A dot or a quote in the first column would be a request.
        if line.starts_with(['.', '\'']) { format!("\\&{line}\n") } else { format!("{line}\n") }
    });
    format!(".SH {heading}\n.nf\n{}.fi\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_names_its_options() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for command in Cli::command().get_subcommands().filter(|one| !one.is_hide_set()) {
            let name = format!("keepwatch-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "{name} in {names:?}");
            let page = pages.iter().find(|(one, _)| *one == name).unwrap();
            let page = String::from_utf8(page.1.clone()).unwrap().replace("\\-", "-");
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{flag}")), "--{flag} in {name}");
            }
        }
        assert!(names.contains(&"keepwatch.1"));
    }

    #[test]
    fn nothing_in_a_text_is_a_request_to_roff() {
        assert_eq!(verbatim("X", ".a\n\\b --c"), ".SH X\n.nf\n\\&.a\n\\eb \\-\\-c\n.fi\n");
    }
}
