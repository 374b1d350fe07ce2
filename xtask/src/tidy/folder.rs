//! Folders of sources: few enough files in each that a newcomer sees what is there.

use super::WorkspaceFile;
use std::{collections::BTreeMap, path::Path};

const MOST_FILES: usize = 16;
/// Folders in which each file is a program of its own, so that folders would say something else.
const PROGRAMS: [&str; 1] = ["tests/tests"];

/// The folders that hold too many files of Rust, those in folders below them not counted.
pub(super) fn of_files(files: &[WorkspaceFile]) -> Vec<String> {
    let mut counts: BTreeMap<&Path, usize> = BTreeMap::new();
    let sources = files.iter().map(|file| file.path.as_path());
    let sources = sources.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    for folder in sources.filter_map(Path::parent) {
        *counts.entry(folder).or_default() += 1;
    }
    let is_crowded = |(folder, count): &(&Path, usize)| {
        *count > MOST_FILES && !PROGRAMS.iter().any(|programs| *folder == Path::new(programs))
    };
    let finding = |(folder, count): (&Path, usize)| {
        format!(
            "{}: {count} files of Rust, {MOST_FILES} are allowed: put what belongs together into folders",
            folder.display()
        )
    };
    counts.into_iter().filter(is_crowded).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::{MOST_FILES, WorkspaceFile, of_files};

    fn found(folders: &[(&str, usize, &str)]) -> Vec<String> {
        let files = folders.iter().flat_map(|(folder, n, kind)| {
            (0..*n).map(move |n| WorkspaceFile {
                path: format!("{folder}/f{n}.{kind}").into(),
                text: None,
            })
        });
        of_files(&files.collect::<Vec<_>>())
    }

    #[test]
    fn a_folder_has_few_sources() {
        assert_eq!(found(&[("a/src", MOST_FILES, "rs")]), [""; 0]);
        let found = found(&[("a/src", MOST_FILES + 1, "rs"), ("b/src", 1, "rs")]);
        assert!(found.len() == 1 && found[0].starts_with("a/src: 17 files"), "{found:?}");
    }

    #[test]
    fn other_files_and_folders_below_count_for_themselves() {
        let many = MOST_FILES;
        let folders = [("a/src", many, "rs"), ("a/src/b", many, "rs"), ("a/src", many, "sql")];
        assert_eq!(found(&folders), [""; 0]);
    }

    #[test]
    fn programs_stand_side_by_side() {
        assert_eq!(found(&[("tests/tests", 40, "rs")]), [""; 0]);
        assert_eq!(found(&[("tests/tests/why", 40, "rs"), ("agent/tests", 40, "rs")]).len(), 2);
    }
}
