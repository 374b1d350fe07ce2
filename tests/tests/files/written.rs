//! Results: `check --junit FILE`, `check --json=FILE`, `man FOLDER`.

use crate::planted::{
    NOBODY, Precious, SOON, Zoo, by_sudo, command, end, fifo, give, link, refused, said, text,
    user_of,
};
use keepwatch_tests::{tool::TemporaryFolder, wait};
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The options that name a result, for this path.
fn options(path: &Path) -> [Vec<String>; 2] {
    let path = text(path);
    [vec!["--junit".to_owned(), path.to_owned()], vec![format!("--json={path}")]]
}

/// `check OPTION -- touch TRACE`: the command leaves a trace if it is run.
fn check(option: &[String], trace: &Path) -> Command {
    let mut words = vec!["check"];
    words.extend(option.iter().map(String::as_str));
    words.extend(["--", "touch", text(trace)]);
    command(&words)
}

/// With a result at `path` the check ends with 2, and its command was not run.
#[track_caller]
fn is_refused(path: &Path, sudo: bool, words: &[&str]) {
    let folder = TemporaryFolder::new();
    let trace = folder.file("trace");
    for option in options(path) {
        let check = check(&option, &trace);
        let mut check = if sudo { by_sudo(check) } else { check };
        refused(&mut check, 2, &[&[text(path)], words].concat());
        assert!(!trace.exists(), "the command was run");
    }
}

/// With a result at `path` the check does its work.
#[track_caller]
fn is_written(path: &Path, sudo: bool) {
    for (option, begin) in options(path).iter().zip(["<?xml", "{\"result\""]) {
        let mut words = vec!["check"];
        words.extend(option.iter().map(String::as_str));
        words.extend(["--", "true"]);
        let mut check = if sudo { by_sudo(command(&words)) } else { command(&words) };
        let output = end(&mut check);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let text = fs::read_to_string(path).expect("a result");
        assert!(text.starts_with(begin) && text.ends_with(['>', '}', '\n']), "{text}");
        assert!(!text.contains("old"), "{text}");
    }
}

/// A folder of nobody's in a folder of root's.
fn home(folder: &TemporaryFolder) -> PathBuf {
    let home = folder.file("home");
    fs::create_dir(&home).expect("a folder");
    give(&home, NOBODY);
    home
}

#[test]
fn under_sudo_a_link_to_a_file_of_root_is_not_written_through() {
    let folder = TemporaryFolder::new();
    let (home, precious) = (home(&folder), Precious::in_folder(&folder));
    let at = home.join("keepalive.xml");
    link(precious.path(), &at, NOBODY);
    is_refused(&at, true, &["as nobody, who typed sudo", "Permission denied", "SUDO_UID"]);
    // Nor one that root made for others to use: the user who typed sudo has no rights to the file either.
    let of_root = home.join("of-root.xml");
    link(precious.path(), &of_root, 0);
    is_refused(&of_root, true, &["Permission denied"]);
    precious.assert_untouched();
}

#[test]
fn under_sudo_nothing_is_made_through_a_linked_folder_and_no_hard_link_is_written_to() {
    let folder = TemporaryFolder::new();
    let (home, precious) = (home(&folder), Precious::in_folder(&folder));
    let closed = folder.file("of-root");
    fs::create_dir(&closed).expect("a folder");
    link(&closed, &home.join("out"), NOBODY);
    is_refused(&home.join("out/keepalive.xml"), true, &["Permission denied"]);
    assert_eq!(fs::read_dir(&closed).expect("the folder").count(), 0);
    let hard = home.join("hard.xml");
    fs::hard_link(precious.path(), &hard).expect("a hard link");
    is_refused(&hard, true, &["2 names"]);
    precious.assert_untouched();
}

#[test]
fn under_sudo_results_belong_to_the_user_who_typed_it_also_through_their_own_link() {
    let folder = TemporaryFolder::new();
    let home = home(&folder);
    let new = home.join("new.xml");
    is_written(&new, true);
    assert_eq!(user_of(&new), NOBODY);
    let (old, linked) = (home.join("old.xml"), home.join("linked.xml"));
    fs::write(&old, "old ".repeat(1000)).expect("a file");
    give(&old, NOBODY);
    link(Path::new("old.xml"), &linked, NOBODY);
    is_written(&linked, true);
    assert_eq!((user_of(&old), user_of(&linked)), (NOBODY, NOBODY));
    assert!(fs::symlink_metadata(&linked).expect("the link").is_symlink());
    is_written(&old, true);
}

#[test]
fn root_follows_its_own_links_and_nobody_elses() {
    let folder = TemporaryFolder::new();
    let (home, precious) = (home(&folder), Precious::in_folder(&folder));
    let at = home.join("keepalive.xml");
    link(precious.path(), &at, NOBODY);
    is_refused(&at, false, &["a link that uid 65534 made", "name another file"]);
    link(&folder.file("elsewhere"), &home.join("dangling.xml"), NOBODY);
    is_refused(&home.join("dangling.xml"), false, &["a link that uid 65534 made"]);
    let closed = folder.file("of-root");
    fs::create_dir(&closed).expect("a folder");
    link(&closed, &home.join("out"), NOBODY);
    is_refused(&home.join("out/keepalive.xml"), false, &["a link that uid 65534 made"]);
    // By a link of root's own to that link, too.
    link(&at, &folder.file("to-the-link"), 0);
    is_refused(&folder.file("to-the-link"), false, &["a link that uid 65534 made"]);
    precious.assert_untouched();
    assert!(!folder.file("elsewhere").exists());
    assert_eq!(fs::read_dir(&closed).expect("the folder").count(), 0);

    link(&closed, &folder.file("own"), 0);
    is_written(&folder.file("own/keepalive.xml"), false);
    assert!(closed.join("keepalive.xml").exists());
    fs::write(folder.file("old"), "old").expect("a file");
    link(Path::new("old"), &folder.file("own.xml"), 0);
    is_written(&folder.file("own.xml"), false);
    let circle = folder.file("circle");
    link(&circle, &circle, 0);
    is_refused(&circle, false, &["symbolic links"]);
}

#[test]
fn what_is_no_plain_file_is_named_and_nothing_waits() {
    let folder = TemporaryFolder::new();
    for (path, word) in Zoo::in_folder(&folder).animals {
        is_refused(&path, false, &[word]);
    }
    is_refused(&folder.file("no/such/keepalive.xml"), false, &["No such file"]);
    fs::write(folder.file("plain"), "mine").expect("a file");
    is_refused(&folder.file("plain/keepalive.xml"), false, &["Not a directory"]);
    assert_eq!(fs::read(folder.file("plain")).expect("the file"), b"mine");
}

#[test]
fn a_hard_link_is_refused_and_so_is_what_another_user_left_for_root_to_fill() {
    let folder = TemporaryFolder::new();
    let precious = Precious::in_folder(&folder);
    let hard = folder.file("hard.xml");
    fs::hard_link(precious.path(), &hard).expect("a hard link");
    is_refused(&hard, false, &["2 names"]);
    precious.assert_untouched();
    // The folder is as /tmp: sticky, and open to all.
    let left = folder.file("left.xml");
    fs::write(&left, "old").expect("a file");
    give(&left, NOBODY);
    is_refused(&left, false, &["belongs to uid 65534"]);
    let pipe = folder.file("pipe.xml");
    fifo(&pipe);
    give(&pipe, NOBODY);
    is_refused(&pipe, false, &["belongs to uid 65534"]);
    assert_eq!(fs::read(&left).expect("the file"), b"old");
    // In that user's own folder root writes the file, as asked.
    let own = home(&folder).join("left.xml");
    fs::write(&own, "old").expect("a file");
    give(&own, NOBODY);
    is_written(&own, false);
    assert_eq!(user_of(&own), NOBODY);
}

#[test]
fn a_fifo_that_is_read_and_what_a_shell_hands_over_is_written_to() {
    let folder = TemporaryFolder::new();
    let pipe = folder.file("pipe");
    fifo(&pipe);
    is_refused(&pipe, false, &["no program reads it"]);
    let from = pipe.clone();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(from).and_then(|mut pipe| pipe.read_to_string(&mut text)).map(|_| text)
    });
    // Until the reader is there it is refused.
    wait::until("the fifo is read", SOON, || {
        let output = end(&mut command(&["check", "--junit", text(&pipe), "--", "true"]));
        output.status.success().then_some(())
    });
    let read = reader.join().expect("the reader").expect("a pipe");
    assert!(read.ends_with("</testsuites>\n"), "{read}");

    let shell = |script: &str| {
        let mut bash = Command::new("bash");
        let output = end(bash.args(["-c", script]).env("K", keepwatch_tests::tool::keepwatch()));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, out) = shell("\"$K\" check --junit >(cat) -- true | cat");
    assert!(code == Some(0) && out.contains("</testsuites>"), "{out}");
    let (code, out) = shell("echo before; \"$K\" check --json=/dev/stdout -- echo of the command");
    assert_eq!(code, Some(0));
    assert!(out.starts_with("before\nof the command\n{\"result\":\"summary\""), "{out}");
    let (code, out) = shell("exec 5<&0; \"$K\" check --json=/dev/fd/5 -- echo it is run");
    assert_eq!((code, out.as_str()), (Some(2), ""), "open for reading only");
}

#[test]
fn the_null_device_and_descriptors_take_results() {
    is_null("/dev/null", false);
    is_null("/dev/null", true);
    let mut check = by_sudo(command(&["check", "--junit", "/dev/stdout", "--", "true"]));
    let output = end(&mut check);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("</testsuites>\n"), "a pipe of root's under sudo: {}", said(&output));
}

#[track_caller]
fn is_null(path: &str, sudo: bool) {
    let check = command(&["check", "--junit", path, "--", "true"]);
    let output = end(&mut if sudo { by_sudo(check) } else { check });
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
