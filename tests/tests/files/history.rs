//! The history: `run --state-dir FOLDER`, and who reads it.

use crate::planted::{NOBODY, Precious, Zoo, command, end, give, link, refused, text};
use keepwatch_tests::{
    answer::{agent::Agent, http},
    tool::TemporaryFolder,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// A folder with a state directory in it that holds what `plant` put there.
fn planted(plant: impl FnOnce(&TemporaryFolder, &Path)) -> TemporaryFolder {
    let folder = TemporaryFolder::new();
    let state = folder.file("state");
    fs::create_dir(&state).expect("a folder");
    plant(&folder, &state);
    folder
}

/// The agent runs, writes nothing down, and says why.
#[track_caller]
fn nothing_is_written(folder: TemporaryFolder, words: &[&str]) -> TemporaryFolder {
    let agent = Agent::start_in(folder, &[]);
    let trouble = agent.ask("/v1/status")[0]["history"]["trouble"].to_string();
    let (folder, said) = agent.stop_and_leave();
    for word in [words, &["--state-dir"]].concat() {
        assert!(trouble.contains(word) && said.contains(word), "no {word:?} in {trouble}: {said}");
    }
    folder
}

#[test]
fn a_history_that_is_a_link_a_hard_link_or_anothers_is_left_alone() {
    for name in ["history.db", "history.db-wal", "history.db-shm"] {
        let mut precious = None;
        let folder = planted(|folder, state| {
            let it = precious.insert(Precious::in_folder(folder));
            link(it.path(), &state.join(name), 0);
        });
        let folder = nothing_is_written(folder, &[name, "it is a link"]);
        precious.expect("the file").assert_untouched();
        drop(folder);
    }
    let mut precious = None;
    let folder = planted(|folder, state| {
        let it = precious.insert(Precious::in_folder(folder));
        fs::hard_link(it.path(), state.join("history.db")).expect("a hard link");
    });
    let folder = nothing_is_written(folder, &["2 names"]);
    precious.expect("the file").assert_untouched();
    drop(folder);
    let folder = planted(|_, state| {
        fs::write(state.join("history.db"), "").expect("a file");
        give(&state.join("history.db"), NOBODY);
    });
    let folder = nothing_is_written(folder, &["belongs to uid 65534"]);
    assert_eq!(fs::metadata(folder.file("state/history.db")).expect("the file").len(), 0);
}

#[test]
fn a_history_that_is_no_plain_file_is_named_by_its_writer_and_its_reader() {
    let zoo_folder = TemporaryFolder::new();
    for (path, word) in Zoo::in_folder(&zoo_folder).animals {
        let folder = planted(|_, state| {
            fs::rename(&path, state.join("history.db")).expect("moved");
        });
        let folder = nothing_is_written(folder, &[word, "must be a plain file"]);
        let state = folder.file("state");
        let socket = folder.file("none.sock");
        let why = ["why", "10.9.9.9", "--state-dir", text(&state), "--socket", text(&socket)];
        let output = end(&mut command(&why));
        let told = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
        assert_eq!(output.status.code(), Some(0), "it answers without: {told}");
        for word in ["without the history on disk", "history.db: it is", word, "--state-dir"] {
            assert!(told.contains(word), "no {word:?} in {told}");
        }
    }
}

#[test]
fn the_files_are_for_the_agent_and_its_group_whatever_the_folder_and_the_file_were() {
    let folder = planted(|_, state| {
        fs::set_permissions(state, fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::write(state.join("history.db"), "").expect("a file");
    });
    let agent = Agent::start_in(folder, &[]);
    let names = fs::read_dir(agent.state()).expect("the folder");
    let paths: Vec<_> = names.map(|entry| entry.expect("a file").path()).collect();
    assert!(paths.len() >= 3, "with -wal and -shm: {paths:?}");
    for path in paths {
        let mode = fs::metadata(&path).expect("a file").mode() & 0o7777;
        assert_eq!(mode & !0o640, 0, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_linked_state_directory_of_root_is_used() {
    let folder = planted(|folder, state| {
        let real = folder.file("private");
        fs::rename(state, &real).expect("moved");
        // As systemd does with DynamicUser=yes.
        link(Path::new("private"), state, 0);
    });
    let agent = Agent::start_in(folder, &[]);
    assert!(agent.ask("/v1/status")[0]["history"]["trouble"].is_null());
    let (folder, said) = agent.stop_and_leave();
    assert!(folder.file("private/history.db").exists() && !said.contains("warning"), "{said}");
}

#[test]
fn two_agents_do_not_share_a_history() {
    let agent = Agent::start(&[]);
    let state = agent.state();
    let other = TemporaryFolder::new();
    let (address, socket) = (http::free_address().to_string(), other.file("other.sock"));
    let quiet = ["run", "--log-level", "error"];
    let words = ["--listen", &address, "--socket", text(&socket), "--state-dir"];
    let pid = agent.pid().to_string();
    let named = ["another keepwatch agent", pid.as_str(), text(&state), "--state-dir"];
    refused(&mut command(&[&quiet[..], &words, &[text(&state)]].concat()), 3, &named);
    assert!(!socket.exists(), "nothing is left behind");
    assert!(agent.ask("/v1/status")[0]["history"]["trouble"].is_null(), "the first does not mind");
    // A killed one holds nothing.
    let agent = Agent::start_in(agent.kill(), &[]);
    assert!(agent.ask("/v1/status")[0]["history"]["trouble"].is_null());
}
