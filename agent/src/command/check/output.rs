//! Where the report goes.

use super::{
    CheckArgs, Error, junit,
    report::{Report, ReportStyle},
    user::User,
};
use crate::{command::output, config::CarriedOptions, files};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where JSON goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JsonTo {
    /// Where text would go: with a command stderr, else stdout.
    Usual,
    /// Stdout, after the command's output.
    Stdout,
    /// Into this file.
    File(PathBuf),
}

impl From<OsString> for JsonTo {
    fn from(word: OsString) -> Self {
        match word.to_str() {
            Some("") => Self::Usual,
            Some("-") => Self::Stdout,
            _ => Self::File(word.into()),
        }
    }
}

/// Files that are opened before the command starts: a result that cannot be written is known at once.
pub(super) struct Output {
    json: Option<File>,
    junit: Option<File>,
    to: Option<JsonTo>,
    all: bool,
    colour: bool,
}

impl Output {
    /// Opens the files with the rights of the user who typed sudo.
    pub(super) fn open(args: &CheckArgs, colour: bool) -> Result<Self, Error> {
        let asker = User::of_sudo();
        let create = |path: &Path| create(path, asker.as_ref());
        let to = args.json.clone();
        let file = match &to {
            Some(JsonTo::File(path)) => Some(create(path)?),
            _ => None,
        };
        Ok(Self {
            json: file,
            junit: args.junit.as_deref().map(create).transpose()?,
            to,
            all: args.show_all,
            colour,
        })
    }

    /// The host's connections are data.
    pub(super) fn host(
        self,
        report: &Report,
        took: Duration,
        carried: &CarriedOptions,
    ) -> io::Result<()> {
        let colour = output::in_colour(self.colour);
        let look = ReportStyle::new(colour, output::size());
        let is_text = self.to.is_none() || matches!(self.to, Some(JsonTo::File(_)));
        let mut out = output::stdout();
        self.write(&mut out, look, report, "host", took)?;
        if let Some(word) = report.worst_process().filter(|_| is_text) {
            writeln!(out, "what to change: {}", carried.after(&format!("why {word}")))?;
        }
        out.flush()
    }

    /// stdout is the command's.
    pub(super) fn command(self, report: &Report, name: &str, took: Duration) -> io::Result<()> {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if self.to == Some(JsonTo::Stdout) {
            let look = ReportStyle::new(false, None);
            return self.write(&mut output::stdout(), look, report, name, took);
        }
        let colour = self.colour && !no_color && io::stderr().is_terminal();
        let look = ReportStyle::new(colour, output::size_of(io::stderr()));
        self.write(&mut BufWriter::new(io::stderr()), look, report, name, took)
    }

    fn write(
        self,
        out: &mut impl Write,
        look: ReportStyle,
        report: &Report,
        name: &str,
        took: Duration,
    ) -> io::Result<()> {
        // First what a machine waits for: a terminal may be gone.
        if let Some(file) = self.junit {
            let mut file = BufWriter::new(file);
            junit::write(&mut file, report, name, took)?;
            file.flush()?;
        }
        if let Some(file) = self.json {
            let mut file = BufWriter::new(file);
            report.json(&mut file, self.all)?;
            file.flush()?;
        }
        if matches!(self.to, Some(JsonTo::Usual | JsonTo::Stdout)) {
            report.json(out, self.all)?;
        } else {
            report.text(out, look, self.all)?;
        }
        out.flush()
    }
}

fn create(path: &Path, asker: Option<&User>) -> Result<File, Error> {
    let Some(asker) = asker else {
        return files::output(path).map_err(|cause| Error::File { file: path.to_owned(), cause });
    };
    let failed =
        |cause| Error::FileOfUser { file: path.to_owned(), user: asker.to_string(), cause };
    asker.act(|| files::output(path)).map_err(failed)
}
