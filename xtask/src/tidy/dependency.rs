//! Dependencies that nothing uses: each is a download, a licence and an update for nothing.

use super::{WorkspaceFile, import::Imports};
use std::path::Path;
use toml_edit::{Document, Item, TableLike};

const MANIFEST: &str = "Cargo.toml";
/// The tables of a manifest whose keys are dependencies.
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Dependencies of the workspace that no member has, and of members that their sources do not name.
pub(super) fn unused(files: &[WorkspaceFile]) -> Vec<String> {
    let (mut findings, mut used) = (Vec::new(), Vec::new());
    let manifests = files.iter().filter(|file| file.path.ends_with(MANIFEST));
    let manifests: Vec<(&Path, Document<String>)> = manifests
        .filter_map(|file| {
            let parsed = file.text.clone().unwrap_or_default().parse();
            parsed
                .map_err(|error| findings.push(format!("{}: {error}", file.path.display())))
                .ok()
                .map(|document| (file.path.as_path(), document))
        })
        .collect();
    for (path, manifest) in &manifests {
        let folder = path.parent().unwrap_or(Path::new(""));
        for name in of_member(manifest) {
            if !is_named(&name, folder, files) {
                findings.push(format!(
                    "{}: `{name}` is used by no source of this crate: take it out",
                    path.display()
                ));
            }
            used.push(name);
        }
    }
    for (path, manifest) in &manifests {
        let of_workspace = manifest.get("workspace").and_then(|item| item.get("dependencies"));
        for name in names(of_workspace).filter(|name| !used.contains(name)) {
            findings
                .push(format!("{}: `{name}` is used by no member: take it out", path.display()));
        }
    }
    findings
}

fn of_member(manifest: &Document<String>) -> Vec<String> {
    let targets = manifest.get("target").and_then(Item::as_table_like);
    let targets = targets.into_iter().flat_map(TableLike::iter).map(|(_, target)| target);
    let tables = std::iter::once(manifest.as_item()).chain(targets);
    tables.flat_map(|table| KINDS.into_iter().flat_map(|kind| names(table.get(kind)))).collect()
}

fn names(table: Option<&Item>) -> impl Iterator<Item = String> {
    let table = table.and_then(Item::as_table_like);
    table.into_iter().flat_map(TableLike::iter).map(|(name, _)| name.to_owned())
}

/// Whether a source below the folder names the crate: in code, not in comments or text.
fn is_named(dependency: &str, folder: &Path, files: &[WorkspaceFile]) -> bool {
    let name = dependency.replace('-', "_");
    let sources = files.iter().filter(|file| {
        file.path.starts_with(folder) && file.path.extension().is_some_and(|kind| kind == "rs")
    });
    sources.filter_map(|file| file.text.as_deref()).any(|text| {
        text.contains(&name)
            && Imports::of_text(text, &[]).is_some_and(|imports| {
                imports.all.iter().any(|import| import.path.first() == Some(&name))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::{WorkspaceFile, unused};

    fn file((path, text): (&str, &str)) -> WorkspaceFile {
        WorkspaceFile { path: path.into(), text: Some(text.into()) }
    }

    fn findings(member: &str, source: &str) -> Vec<String> {
        let workspace = "[workspace.dependencies]\nlibc = '1'\nserde-json = '1'\n";
        let files = [("Cargo.toml", workspace), ("a/Cargo.toml", member), ("a/src/lib.rs", source)];
        unused(&files.map(file))
    }

    const BOTH: &str = "[dependencies]\nlibc.workspace = true\n\
                        [target.'cfg(unix)'.dev-dependencies]\nserde-json = { workspace = true }\n";

    #[test]
    fn what_a_source_names_is_used() {
        let source = "use libc::c_int; fn f() { assert!(serde_json::from_str(\"1\")) }";
        assert_eq!(findings(BOTH, source), [""; 0]);
        assert_eq!(findings(BOTH, "use {libc, serde_json as json};"), [""; 0]);
    }

    #[test]
    fn what_only_text_or_another_crate_names_is_not() {
        let source = "// libc::c_int\nfn f() { \"serde_json::from_str\"; my::libc::x() }";
        let found = findings(BOTH, source);
        assert!(found.len() == 2 && found[0].starts_with("a/Cargo.toml: `libc`"), "{found:?}");
    }

    #[test]
    fn what_no_member_has_is_not_either() {
        let found = findings("[dependencies]\nlibc.workspace = true\n", "use libc::c_int;");
        assert_eq!(found, ["Cargo.toml: `serde-json` is used by no member: take it out"]);
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_a_finding() {
        assert_eq!(findings("[dependencies", "").len(), 3);
    }
}
