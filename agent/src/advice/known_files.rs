//! The files by which clients are recognised, of the many that a process has loaded. Their names are any user's choice: of
//! each the clues that it shows are kept, and the beginning of its name.

use super::clients;
use crate::model::text::sanitize;
use std::{cmp::Reverse, collections::BTreeSet, sync::LazyLock};

/// Files that are kept of one process, and their bytes: libraries of clients are few, and their names are short.
const MAX_FILES: usize = 16;
const MAX_BYTES: usize = 1024;
/// Of names that processes and files have; longer ones are cut.
const MAX_NAME: usize = 64;

/// Parts of paths by which clients are recognised, each once: before others those that contain them.
static PARTS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let mut parts: Vec<_> = clients::libraries().collect();
    parts.sort_unstable_by_key(|part| (Reverse(part.len()), *part));
    parts.dedup();
    parts
});

/// Whether a client is recognised by the file with this path.
pub(super) fn is_known(path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    PARTS.iter().any(|part| path.contains(part))
}

/// Takes a file in if it shows a clue that the others do not, or shows it in its name and they do not.
pub(super) fn add(files: &mut BTreeSet<String>, path: &[u8]) {
    let path = String::from_utf8_lossy(path);
    if !PARTS.iter().any(|part| path.contains(part)) {
        return;
    }
    let short = shortened(&path);
    let is_new = |part: &&str| {
        !files.iter().any(|file| file.contains(part))
            || name_of(&short).contains(part) && !files.iter().any(|it| name_of(it).contains(part))
    };
    let has_room = files.len() < MAX_FILES
        && files.iter().map(String::len).sum::<usize>() + short.len() <= MAX_BYTES;
    if has_room && PARTS.iter().filter(|part| short.contains(**part)).any(is_new) {
        files.insert(short);
    }
}

/// The beginning of the name, behind those clues of the path that it does not show.
fn shortened(path: &str) -> String {
    let name = name_of(path);
    let name = format!("/{}", cut(sanitize::escaped(name.trim_start_matches('/').as_bytes())));
    let mut folders = String::new();
    for part in PARTS.iter().filter(|part| path.contains(**part)) {
        if !name.contains(part) && !folders.contains(part) {
            folders.push_str(part);
        }
    }
    folders.truncate(folders.trim_end_matches('/').len());
    folders + &name
}

/// From the last slash on.
pub(super) fn name_of(path: &str) -> &str {
    path.rfind('/').and_then(|at| path.get(at..)).unwrap_or_default()
}

/// The beginning of a name that somebody else has chosen.
pub(super) fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(paths: &[&str]) -> Vec<String> {
        let mut files = BTreeSet::new();
        for path in paths {
            add(&mut files, path.as_bytes());
        }
        files.into_iter().collect()
    }

    #[test]
    fn a_file_keeps_the_clues_of_its_path_and_its_name() {
        assert_eq!(kept(&["/usr/lib/x86_64-linux-gnu/libpq.so.5.15"]), ["/libpq.so.5.15"]);
        let aiohttp = "/venv/lib/python3.11/site-packages/aiohttp/_websocket.so";
        assert_eq!(kept(&[aiohttp]), ["/aiohttp/_websocket.so"]);
        assert_eq!(kept(&["/usr/lib/libm.so.6", "/home/libpq/x.txt", "libpq"]), ["/libpq/x.txt"]);
    }

    #[test]
    fn every_clue_of_the_paths_is_kept() {
        for part in &*PARTS {
            for path in [format!("/opt{part}"), format!("/opt{part}/x.so"), format!("/a{part}b.so")]
            {
                let files = kept(&[&path]);
                let lost: Vec<_> = PARTS
                    .iter()
                    .filter(|part| {
                        path.contains(**part) && !files.iter().any(|it| it.contains(**part))
                    })
                    .collect();
                assert!(lost.is_empty(), "{path}: {files:?} lost {lost:?}");
            }
        }
    }

    #[test]
    fn many_files_of_one_client_leave_room_for_others_and_the_one_named_like_it_is_kept() {
        let many: Vec<String> = (0..100).map(|n| format!("/opt/libpq.d/{n}.so")).collect();
        let mut paths: Vec<&str> = many.iter().map(String::as_str).collect();
        paths.extend(["/usr/lib/libpq.so.5", "/usr/lib/librdkafka.so.1"]);
        let files = kept(&paths);
        assert_eq!(files, ["/libpq./0.so", "/libpq.so.5", "/librdkafka.so.1"]);
    }

    #[test]
    fn what_a_hostile_process_makes_of_its_files_is_bounded() {
        let mut files = BTreeSet::new();
        for (n, part) in PARTS.iter().cycle().take(4096).enumerate() {
            add(&mut files, format!("{part}/{n}{}", "\x1b".repeat(900)).as_bytes());
        }
        assert!(!files.is_empty() && files.len() <= MAX_FILES);
        assert!(files.iter().map(String::len).sum::<usize>() <= MAX_BYTES);
    }
}
