//! The archive, for systems without dpkg and rpm: a folder, packed.

use super::revision::Revision;
use crate::command::{announced, new};
use anyhow::Result;
use std::path::Path;

/// Packs a folder beside itself. The same files make the same archive, whoever packs them, and whenever.
pub(super) fn pack(dist: &Path, folder: &str, revision: &Revision) -> Result<String> {
    let archive = format!("{folder}.tar.gz");
    let mut tar = new("tar");
    tar.current_dir(dist).args(["--sort=name", "--format=gnu", "--numeric-owner"]);
    tar.args(["--owner=0", "--group=0"]).arg(format!("--mtime=@{}", revision.epoch));
    tar.args(["--use-compress-program=gzip -9n", "-cf", &archive, folder]);
    announced(revision.dated(&mut tar), "tar and gzip are part of every system")?;
    Ok(archive)
}
