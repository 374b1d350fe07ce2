//! `keepwatch man FOLDER`: the man pages, from the one definition of each option.

use crate::{
    command::{Cli, Failure, Outcome},
    files,
};
use clap::{Args, CommandFactory as _};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keepwatch man /usr/local/share/man/man1
  keepwatch man . && man ./keepwatch-why.1")]
pub(crate) struct ManArgs {
    /// The folder that they are written into
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes a page for each command.
pub(in crate::command) fn run(args: &ManArgs) -> Result<Outcome, Failure> {
    for (name, page) in pages()? {
        let path = args.folder.join(name);
        write(&path, &page).map_err(|cause| Failure::ManPage { path, cause })?;
    }
    Ok(Outcome::Fine)
}

fn write(path: &Path, page: &[u8]) -> Result<(), files::Error> {
    Ok(files::output(path)?.write_all(page)?)
}

/// The name and the text of each page.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    for command in root.get_subcommands().chain([&root]) {
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
    use super::{pages, verbatim};
    use crate::command::Cli;
    use clap::CommandFactory as _;
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    #[test]
    fn man_pages_name_every_option_of_every_command() {
        let pages = pages().unwrap();
        for command in Cli::command().get_subcommands() {
            let name = format!("keepwatch-{}.1", command.get_name());
            let (_, page) = pages.iter().find(|(one, _)| *one == name).unwrap();
            let page = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
            assert!(page.contains("Examples:"), "{name}");
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{flag}")), "--{flag} in {name}");
            }
        }
        assert!(pages.iter().any(|(name, _)| name == "keepwatch.1"));
    }

    #[test]
    fn man_pages_are_rendered_without_a_warning() {
        for (name, page) in pages().unwrap() {
            let mut groff = Command::new("groff");
            // Plain text: neither escape sequences nor overstrikes.
            groff.args(["-man", "-Tutf8", "-ww", "-P-cbou"]).stdin(Stdio::piped());
            let Ok(mut groff) = groff.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
                eprintln!("skipped: groff, which is not installed");
                return;
            };
            groff.stdin.take().unwrap().write_all(&page).unwrap();
            let output = groff.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
            assert!(output.status.success(), "{name}: {}", output.status);
            assert!(String::from_utf8(output.stdout).unwrap().contains("NAME"), "{name}");
        }
    }

    #[test]
    fn nothing_in_a_text_is_a_request_to_roff() {
        assert_eq!(verbatim("X", ".a\n\\b --c"), ".SH X\n.nf\n\\&.a\n\\eb \\-\\-c\n.fi\n");
    }
}
