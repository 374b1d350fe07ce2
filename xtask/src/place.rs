//! Where things are: the workspace, what is built, the tools that the tests use.

use anyhow::{Context as _, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The folder that has the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Tools unpacked for the tests. The same folder whatever `CARGO_TARGET_DIR` says.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// A binary that cargo built: `profile` is `debug`, `release` or `shipped`.
pub(crate) fn binary(profile: &str, name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join(profile).join(name)
}

/// Where a program of this name is: on PATH, or where the system's own tools are.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(system).map(|folder| folder.join(name));
    places.find(|place| place.is_file())
}

/// Whether there is such a program.
pub(crate) fn has_program(name: &str) -> bool {
    program(name).is_some()
}

/// All files in a folder and in those below it.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
