//! What is read: `--config FILE`, `check --policy FILE`.

use crate::planted::{
    NOBODY, Precious, Zoo, by_sudo, command, end, give, link, refused, said, text,
};
use keepwatch_tests::tool::TemporaryFolder;
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

/// Every way to name a file that is read. None of them gets as far as needing hooks.
fn readers(path: &Path) -> [Command; 3] {
    let mut by_variable = command(&["sockets"]);
    by_variable.env("KEEPWATCH_CONFIG", path);
    [
        command(&["run", "--config", text(path)]),
        by_variable,
        command(&["check", "--policy", text(path), "--", "true"]),
    ]
}

#[track_caller]
fn is_refused(path: &Path, words: &[&str]) {
    for mut reader in readers(path) {
        refused(&mut reader, 2, &[&[text(path), "name another with --"], words].concat());
    }
}

#[test]
fn what_is_no_plain_file_is_named_and_nothing_waits_or_grows() {
    let folder = TemporaryFolder::new();
    for (path, word) in Zoo::in_folder(&folder).animals {
        is_refused(&path, &[word, "must be a plain file"]);
    }
    for device in ["/dev/zero", "/dev/tty", "/dev/ptmx"] {
        is_refused(Path::new(device), &["a device, and must be a plain file"]);
    }
    is_refused(&folder.file("no/such"), &["No such file"]);
    let (large, most) = (folder.file("large"), folder.file("most"));
    fs::write(&large, "#".repeat((1 << 20) + 1)).expect("a file");
    is_refused(&large, &["larger than 1048576 bytes"]);
    fs::write(folder.file("bytes"), b"\xff\xfe").expect("a file");
    is_refused(&folder.file("bytes"), &["not UTF-8"]);
    fs::write(&most, "#".repeat(1 << 20)).expect("a file");
    let output = end(&mut command(&["completions", "bash", "--config", text(&most)]));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_pipe_on_stdin_is_named_and_a_file_there_is_read() {
    let folder = TemporaryFolder::new();
    let config = folder.file("config.toml");
    fs::write(&config, "idle_limits = 1\n").expect("a file");
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let sockets = || command(&["sockets", "--config", name]);
        refused(sockets().stdin(Stdio::piped()), 2, &[name, "fifo or pipe"]);
        let file = fs::File::open(&config).expect("the file");
        refused(sockets().stdin(file), 2, &["unknown key `idle_limits`"]);
    }
}

#[test]
fn a_link_of_another_user_is_not_read_and_one_of_root_is() {
    let folder = TemporaryFolder::new();
    let precious = Precious::in_folder(&folder);
    let at = folder.file("config.toml");
    link(precious.path(), &at, NOBODY);
    for mut reader in readers(&at) {
        let output = end(&mut reader);
        keepwatch_tests::answer::agent::assert_refused(&output, 2, &["a link that uid 65534 made"]);
        assert!(!said(&output).contains("precious"), "{}", said(&output));
    }
    fs::remove_file(&at).expect("the link");
    link(precious.path(), &at, 0);
    is_read(&at);
    // As a ConfigMap of Kubernetes: a link to a file through a link to a folder.
    fs::create_dir(folder.file("..2026")).expect("a folder");
    fs::rename(precious.path(), folder.file("..2026/config.toml")).expect("moved");
    link(Path::new("..2026"), &folder.file("..data"), 0);
    fs::remove_file(&at).expect("the link");
    link(Path::new("..data/config.toml"), &at, 0);
    is_read(&at);
}

#[track_caller]
fn is_read(path: &Path) {
    for mut reader in readers(path) {
        refused(&mut reader, 2, &["unknown key `precious`"]);
    }
}

#[test]
fn under_sudo_a_policy_is_read_as_the_user_who_typed_it() {
    let folder = TemporaryFolder::new();
    let precious = Precious::in_folder(&folder);
    let policy = folder.file("policy.toml");
    let check = || by_sudo(command(&["check", "--policy", text(&policy), "--", "true"]));
    for owner in [NOBODY, 0] {
        link(precious.path(), &policy, owner);
        let output = end(&mut check());
        let words = ["as nobody, who typed sudo", "Permission denied", "--policy"];
        keepwatch_tests::answer::agent::assert_refused(&output, 2, &words);
        assert!(!said(&output).contains("secret"), "{}", said(&output));
        fs::remove_file(&policy).expect("the link");
    }
    precious.assert_untouched();
    let own = folder.file("own.toml");
    fs::write(&own, "protectet = true\n").expect("a file");
    give(&own, NOBODY);
    link(&own, &policy, NOBODY);
    refused(&mut check(), 2, &["policy.toml:1: unknown key `protectet`"]);
}

#[test]
fn a_user_without_rights_follows_its_own_links_and_roots_and_no_third_ones() {
    let folder = TemporaryFolder::new();
    let (bin, precious) = (folder.file("keepwatch"), Precious::in_folder(&folder));
    // By another process: a descriptor of ours, open for writing, would be inherited by what other tests start
    // at this moment, and the kernel would not run the file (ETXTBSY).
    let copy = Command::new("cp").arg(keepwatch_tests::tool::keepwatch()).arg(&bin).status();
    assert!(copy.expect("start cp").success());
    let completions = |config: &Path| {
        let mut command = Command::new(&bin);
        command.env_clear().uid(NOBODY).gid(NOBODY).args(["completions", "bash", "--config"]);
        command.arg(config);
        command
    };
    let (config, at) = (folder.file("config.toml"), folder.file("link.toml"));
    fs::write(&config, "interval = \"5s\"\n").expect("a file");
    for owner in [NOBODY, 0] {
        link(&config, &at, owner);
        let output = end(&mut completions(&at));
        assert!(output.status.success(), "{owner}: {}", said(&output));
        fs::remove_file(&at).expect("the link");
    }
    link(&config, &at, 1);
    refused(&mut completions(&at), 2, &["a link that uid 1 made"]);
    refused(&mut completions(precious.path()), 2, &["Permission denied"]);
}
