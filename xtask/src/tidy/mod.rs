//! `cargo xtask tidy`: reads every file of the workspace and prints which laws it breaks.

mod circle;
mod conclusion;
mod dependency;
mod fault;
mod folder;
mod import;
mod law;
mod link;
mod opening;
mod prose;
mod room;
mod test_name;
mod type_name;

use crate::place;
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The folders that docs/ARCHITECTURE.md describes. Git keeps no empty ones, so each must hold a file.
const FOLDERS: [&str; 7] =
    ["agent", "agent-ebpf", "dashboards", "deploy", "docs", "tests", "xtask"];
/// Not ours to judge.
const IGNORED: [&str; 2] = [".git", "target"];

/// Checks the laws that are quick to check: module docs, sizes of files and folders, names, links, plain English, imports and their
/// circles, names of types, dependencies that nothing uses.
#[derive(clap::Args)]
pub(crate) struct TidyOptions {}

/// A file of the workspace: its path from the root, and its text if it is text.
struct WorkspaceFile {
    path: PathBuf,
    text: Option<String>,
}

pub(crate) fn run(_: &TidyOptions) -> Result<ExitCode> {
    check().map(|()| ExitCode::SUCCESS)
}

/// Fails if a law is broken, after it printed which and where.
#[expect(clippy::print_stdout, reason = "findings are this verb's data")]
pub(crate) fn check() -> Result<()> {
    let files = files(&place::root())?;
    let mut findings: Vec<String> = files.iter().flat_map(of_file).collect();
    findings.extend(dependency::unused(&files));
    findings.extend(circle::of_files(&files));
    let texts = files.iter().filter_map(|file| Some((file.path.as_path(), file.text.as_deref()?)));
    let texts: Vec<_> = texts.collect();
    findings.extend(conclusion::of_tree(&texts));
    findings.extend(fault::of_tree(&texts));
    findings.extend(folder::of_files(&files));
    findings.extend(type_name::of_files(&files));
    for folder in FOLDERS {
        if !files.iter().any(|file| file.path.starts_with(folder)) {
            findings.push(format!(
                "{folder}: docs/ARCHITECTURE.md describes this folder, and nothing is in it"
            ));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings in {} files", findings.len(), files.len());
    }
    Ok(())
}

fn of_file(file: &WorkspaceFile) -> Vec<String> {
    let WorkspaceFile { path, text } = file;
    let mut findings = law::of_path(path);
    if let Some(text) = text {
        findings.extend(law::of_text(path, text));
        findings.extend(opening::of_text(path, text));
        findings.extend(prose::of_text(path, text));
        findings.extend(room::of_text(path, text));
        findings.extend(link::of_text(path, text, text_of));
    }
    findings.into_iter().map(|finding| format!("{}{finding}", path.display())).collect()
}

/// The text of a path from the root if it is there; the empty one if it is no text.
fn text_of(path: &Path) -> Option<String> {
    let path = place::root().join(path);
    path.exists().then(|| fs::read_to_string(path).unwrap_or_default())
}

/// Every file, in a stable order, without what git ignores.
fn files(root: &Path) -> Result<Vec<WorkspaceFile>> {
    let (mut folders, mut files) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry.with_context(|| format!("list {}", folder.display()))?;
            let kind =
                entry.file_type().with_context(|| format!("stat {}", entry.path().display()))?;
            if kind.is_dir() && !IGNORED.iter().any(|ignored| entry.file_name() == *ignored) {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(read(root, &entry.path())?);
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn read(root: &Path, path: &Path) -> Result<WorkspaceFile> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let inside = path.strip_prefix(root).unwrap_or(path).to_path_buf();
    Ok(WorkspaceFile { path: inside, text: String::from_utf8(bytes).ok() })
}
