//! The file of `--textfile`, replaced as a whole.

use crate::{files, metrics::Textfile};
use rustix::fs::Mode;
use std::path::{Path, PathBuf};

/// It cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write metrics to {}: {cause}", file.display())]
pub(super) struct TextfileError {
    file: PathBuf,
    cause: files::Error,
}

/// Writes it.
pub(super) fn write(file: &Path, metrics: &Textfile) -> Result<(), TextfileError> {
    files::replace(file, metrics.text().as_bytes(), Mode::from_raw_mode(0o644))
        .map_err(|cause| TextfileError { file: file.to_owned(), cause })
}
