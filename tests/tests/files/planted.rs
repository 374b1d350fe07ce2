//! What a person or a program may have put at a path, and how a run of keepwatch that meets it ends.

use keepwatch_tests::{
    answer::agent::keepwatch, kernel::netns::require_root, tool::TemporaryFolder, wait,
};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, makedev, mknodat};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

pub(crate) const NOBODY: u32 = 65_534;
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A file of root, for root alone, that nobody may touch.
pub(crate) struct Precious {
    path: PathBuf,
    before: FileState,
}

#[derive(Debug, PartialEq, Eq)]
struct FileState {
    bytes: Vec<u8>,
    owner: (u32, u32),
    mode: u32,
    inode: u64,
}

impl Precious {
    pub(crate) fn in_folder(folder: &TemporaryFolder) -> Self {
        require_root();
        let path = folder.file("precious");
        fs::write(&path, "precious = \"secret-7391\"\n").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        let before = FileState::of(&path);
        Self { path, before }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(FileState::of(&self.path), self.before);
    }
}

impl FileState {
    fn of(path: &Path) -> Self {
        let found = fs::symlink_metadata(path).expect("it is there");
        let bytes = fs::read(path).expect("its bytes");
        let owner = (found.uid(), found.gid());
        Self { bytes, owner, mode: found.mode(), inode: found.ino() }
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A link, of the user `uid`.
pub(crate) fn link(to: &Path, at: &Path, uid: u32) {
    symlink(to, at).expect("a link");
    give(at, uid);
}

/// Gives what has this name, also a link, to the user `uid`.
pub(crate) fn give(path: &Path, uid: u32) {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
    chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).expect("chown");
}

pub(crate) fn fifo(path: &Path) {
    node(path, FileType::Fifo, (0, 0));
}

fn node(path: &Path, kind: FileType, (major, minor): (u32, u32)) {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, path, kind, mode, makedev(major, minor)).expect("mknod");
}

/// One of each kind that is no plain file, in a folder of their own; with the word that an error says.
pub(crate) struct Zoo {
    pub(crate) animals: Vec<(PathBuf, &'static str)>,
    _listener: UnixListener,
}

impl Zoo {
    pub(crate) fn in_folder(folder: &TemporaryFolder) -> Self {
        require_root();
        let at = |name| folder.file(name);
        fs::create_dir(at("folder")).expect("a folder");
        fifo(&at("fifo"));
        // /dev/zero and a loop device that does not exist: made here, and used by nobody.
        node(&at("zero"), FileType::CharacterDevice, (1, 5));
        node(&at("disk"), FileType::BlockDevice, (7, 250));
        let listener = UnixListener::bind(at("listener")).expect("a socket");
        let animals = vec![
            (at("folder"), "a folder"),
            (at("fifo"), "fifo"),
            (at("zero"), "a device"),
            (at("disk"), "a device"),
            (at("listener"), "a socket"),
        ];
        Self { animals, _listener: listener }
    }
}

/// As by sudo, typed by nobody.
pub(crate) fn by_sudo(mut command: Command) -> Command {
    let id = NOBODY.to_string();
    command.env("SUDO_UID", &id).env("SUDO_GID", &id).env("SUDO_USER", "nobody");
    command
}

/// `keepwatch WORDS`.
pub(crate) fn command(words: &[&str]) -> Command {
    require_root();
    let mut command = keepwatch(words);
    command.stdin(Stdio::null());
    command
}

/// Runs to the end, which must come soon.
#[track_caller]
pub(crate) fn end(command: &mut Command) -> Output {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("start keepwatch");
    let ended = wait::within(SOON, || child.try_wait().expect("wait for keepwatch"));
    if ended.is_none() {
        child.kill().expect("end our own child");
    }
    let output = child.wait_with_output().expect("what it said");
    assert!(ended.is_some(), "it hangs: {command:?}: {}", said(&output));
    output
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// It ends soon, with this code and one line that has all these words.
#[track_caller]
pub(crate) fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let output = end(command);
    keepwatch_tests::answer::agent::assert_refused(&output, code, words);
}

pub(crate) fn user_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").uid()
}
