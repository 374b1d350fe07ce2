//! What a process shows of itself: its name, its executable, the files it has mapped. /proc shows that; where it does not
//! because we have no capability, the kernel's iterators do.

use super::{clients, go_build::GoBuild, known_files};
use crate::{
    kernel::hooks::{FilesOfProcess, ProcessFiles},
    model::text::sanitize,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// What was read of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Traces {
    /// The kernel's name of it.
    pub comm: Option<String>,
    /// The file name of its executable; where that may not be read, of the first word of its command line.
    pub executable: Option<String>,
    /// Files that it has mapped, and jars that it has open, by which a client is recognised: see [`known_files`].
    pub mapped: BTreeSet<String>,
    /// What it has mapped could be read: what is not among it is not there.
    pub are_files_read: bool,
    /// How it was built, if the Go toolchain did that.
    pub go: Option<GoBuild>,
    /// systemd started it with a listening socket.
    pub is_socket_activated: bool,
}

/// A process has fewer mappings than this (vm.max_map_count), a hostile one may have as many.
const MAX_MAPPINGS: usize = 70_000;
const MAX_LINE: u64 = 8 << 10;
/// Descriptors that are looked at for jars: a server opens them first.
const MAX_DESCRIPTORS: usize = 4096;
/// The environment of a process; systemd's variables stand among the first.
const MAX_ENVIRONMENT: u64 = 128 << 10;
/// Names of kernel threads and of the programs that open connections for the kernel.
const KERNEL_NAMES: [&str; 9] =
    ["kworker/", "kthreadd", "kernel (", "mount.", "nfsd", "nfsiod", "nfsv4", "cifsd", "drbd_"];
/// More of a command line is arguments, which may be secret.
const FIRST_WORD: u64 = 4096;
/// Modules of Go that are kept of a process after its end.
const MAX_KEPT: usize = 16;

impl Traces {
    /// What /proc shows of a process that lives; as much as we may see.
    pub(crate) fn of_process(pid: u32) -> Self {
        Self::of_folder(Path::new(&format!("/proc/{pid}")))
    }

    /// The same; what /proc refuses is asked of the kernel.
    pub(crate) fn of_any_process(pid: u32, files: &ProcessFiles) -> Self {
        let mut traces = Self::of_process(pid);
        // A process that is gone has no name either.
        if !traces.are_files_read
            && traces.comm.is_some()
            && let Ok(found) = files.of(pid, known_files::is_known)
        {
            traces.complete(found);
        }
        traces
    }

    /// Takes over what was found of it. Without an executable nothing was: it is gone.
    fn complete(&mut self, found: FilesOfProcess) {
        let Some(executable) = found.executable else {
            return;
        };
        self.executable = file_name(Path::new(OsStr::from_bytes(&executable)));
        found.loaded.iter().for_each(|path| known_files::add(&mut self.mapped, path));
        self.are_files_read = found.is_complete;
        // An interpreter that has loaded a library in Go is no Go program.
        let is_interpreter = |name: &str| clients::runtimes().any(|it| is_called(name, it));
        if found.has_go && !self.executable.as_deref().is_some_and(is_interpreter) {
            self.go.get_or_insert_default();
        }
    }

    /// Only its name is known: it may be gone.
    pub(crate) fn of_name(process: &str) -> Self {
        Self { comm: Some(process.to_owned()), ..Self::default() }
    }

    /// The kernel itself opened the connection, or somebody for it.
    pub(crate) fn is_kernel(&self) -> bool {
        let is_kernel = |name: &String| KERNEL_NAMES.iter().any(|start| name.starts_with(start));
        self.comm.as_ref().is_some_and(is_kernel)
    }

    /// Without the modules of Go that no client is recognised by.
    #[must_use]
    pub(crate) fn of_known_clients(mut self) -> Self {
        if let Some(go) = &mut self.go {
            let of_clients = clients::modules().filter(|module| go.has(module));
            go.modules = of_clients.take(MAX_KEPT).map(str::to_owned).collect();
        }
        self
    }

    fn of_folder(folder: &Path) -> Self {
        let comm = fs::read(folder.join("comm")).ok();
        let exe = folder.join("exe");
        let maps = File::open(folder.join("maps")).map(mapped).ok();
        let are_files_read = maps.is_some();
        let mut files = maps.unwrap_or_default();
        open_jars(&folder.join("fd"), &mut files);
        let environment = File::open(folder.join("environ"));
        Self {
            comm: comm.map(|comm| sanitize::distinct(comm.trim_ascii_end())),
            executable: fs::read_link(&exe).ok().and_then(|path| file_name(&path)).or_else(|| {
                File::open(folder.join("cmdline")).ok().and_then(|file| first_word(file).ok()?)
            }),
            mapped: files,
            are_files_read,
            go: File::open(&exe).ok().and_then(GoBuild::of_executable),
            is_socket_activated: environment
                .is_ok_and(|file| has_listen_fds(file).unwrap_or(false)),
        }
    }
}

/// Whether a process's or executable's name is this one, with or without a version.
pub(super) fn is_called(found: &str, name: &str) -> bool {
    // The kernel cuts names to 15 bytes.
    let name = if found.len() == 15 { name.get(..15).unwrap_or(name) } else { name };
    found
        .strip_prefix(name)
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-')))
}

/// The last part, cut where it is long, without the mark of a file that an update has replaced.
fn file_name(path: &Path) -> Option<String> {
    let name = sanitize::escaped(path.file_name()?.as_encoded_bytes());
    Some(known_files::cut(name.trim_end_matches(" (deleted)").to_owned()))
}

/// The program in a command line, which any user may read. Servers write a title over it: `nginx: master process`.
fn first_word(cmdline: impl io::Read) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    cmdline.take(FIRST_WORD).read_to_end(&mut head)?;
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | b':');
    let word = head.split(is_end).next().unwrap_or_default();
    // A login shell.
    let word = word.strip_prefix(b"-").unwrap_or(word);
    Ok(file_name(Path::new(OsStr::from_bytes(word))))
}

/// The sixth field of each line, where it is a path.
fn mapped(maps: impl io::Read) -> BTreeSet<String> {
    let mut reader = BufReader::new(maps);
    let mut files = BTreeSet::new();
    let mut line = Vec::new();
    for _ in 0..MAX_MAPPINGS {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if let Some(begin) = line.iter().position(|&byte| byte == b'/') {
            let path = line.get(begin..).unwrap_or_default().trim_ascii_end();
            known_files::add(&mut files, path);
        }
    }
    files
}

/// Adds the jars among the open files: a virtual machine reads them, and maps none.
fn open_jars(descriptors: &Path, files: &mut BTreeSet<String>) {
    let entries = fs::read_dir(descriptors).into_iter().flatten().flatten().take(MAX_DESCRIPTORS);
    let open = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let jars = open.filter(|file| file.extension().is_some_and(|it| it == "jar"));
    jars.for_each(|jar| known_files::add(files, jar.as_os_str().as_encoded_bytes()));
}

/// Whether the environment says that systemd passed sockets (sd_listen_fds(3)). Nothing else of it is kept.
fn has_listen_fds(environment: impl io::Read) -> io::Result<bool> {
    let mut bytes = Vec::new();
    environment.take(MAX_ENVIRONMENT).read_to_end(&mut bytes)?;
    Ok(bytes.split(|&byte| byte == 0).any(|variable| variable.starts_with(b"LISTEN_FDS=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Traces {
        /// What a process shows that wants to take room in the agent.
        pub(in crate::advice) fn hostile() -> Self {
            let long = "\x1b".repeat(900);
            let path = |part: &str| format!("/{part}/{part}/{long}").into_bytes();
            let mut maps = Vec::new();
            let mut loaded = Vec::new();
            for path in clients::libraries().map(path) {
                maps.extend(b"7f00aa000000-7f00aa100000 r-xp 00000000 fe:01 456 ");
                maps.extend(&path);
                maps.push(b'\n');
                loaded.push(path);
            }
            let comm = sanitize::escaped(&[0x1b; 15]);
            let mut traces = Self { mapped: mapped(&maps[..]), ..Self::of_name(&comm) };
            let executable = Some(long.into_bytes());
            let [has_go, is_complete] = [true; 2];
            traces.complete(FilesOfProcess { executable, loaded, has_go, is_complete });
            let modules = clients::modules().chain(["x"; 2]).map(str::to_owned);
            traces.go = traces.go.map(|go| GoBuild { modules: modules.collect(), ..go });
            traces
        }
    }

    #[test]
    fn mapped_files_are_read_from_maps_as_the_kernel_writes_them() {
        let maps = b"55d0a0000000-55d0a0100000 r--p 00000000 fe:01 123   /usr/bin/python3.11\n\
            7f00aa000000-7f00aa100000 r-xp 00000000 fe:01 456        /opt/my libs/libpq-9b.so.5.16\n\
            7f00ab000000-7f00ab100000 rw-p 00000000 00:00 0 \n\
            7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0          [stack]\n\
            7f00ac000000-7f00ac001000 r--p 00000000 fe:01 7  /tmp/librdkafka\x1b[2J.so\n";
        let files: Vec<_> = mapped(&maps[..]).into_iter().collect();
        assert_eq!(files, ["/libpq-9b.so.5.16", "/librdkafka\\u{1b}[2J.so"], "those of clients");
    }

    #[test]
    fn what_the_kernel_says_of_a_process_takes_the_place_of_what_proc_refuses() {
        let refused = || Traces {
            executable: Some("gunicorn".to_owned()),
            ..Traces::of_name("gunicorn: worker")
        };
        let complete = |found: FilesOfProcess| {
            let mut traces = refused();
            traces.complete(found);
            traces
        };
        let found = |executable: &[u8]| FilesOfProcess {
            executable: Some(executable.to_vec()),
            loaded: vec![b"/usr/lib/libpq.so.5.15".to_vec(), b"/tmp/librdkafka\x1b[2J.so".to_vec()],
            has_go: true,
            is_complete: true,
        };
        let python = complete(found(b"/usr/bin/python3.11 (deleted)"));
        assert_eq!(python.executable.as_deref(), Some("python3.11"));
        let files: Vec<_> = python.mapped.iter().map(String::as_str).collect();
        assert_eq!(files, ["/libpq.so.5.15", "/librdkafka\\u{1b}[2J.so"]);
        assert!(python.are_files_read);
        assert_eq!(python.go, None, "a library in Go makes no Go program of an interpreter");
        let unknown = Some(GoBuild::default());
        assert_eq!(complete(found(b"/app/shop")).go, unknown, "of a version that is not known");
        assert_eq!(complete(found(b"/usr/bin/node")).go, None);
        // It had more than was read.
        let part = FilesOfProcess { is_complete: false, ..found(b"/usr/bin/ruby3.1") };
        assert!(!complete(part).are_files_read);
        // It is gone: nothing was learned.
        assert_eq!(complete(FilesOfProcess { is_complete: true, ..<_>::default() }), refused());
    }

    #[test]
    fn sockets_of_systemd_are_known_by_the_variable_and_not_by_one_that_looks_like_it() {
        assert!(has_listen_fds(&b"PATH=/bin\0LISTEN_PID=7\0LISTEN_FDS=1\0"[..]).unwrap());
        assert!(!has_listen_fds(&b"PATH=/bin\0MY_LISTEN_FDS=1\0X=LISTEN_FDS=1\0"[..]).unwrap());
    }

    #[test]
    fn open_jars_are_found_and_other_open_files_are_not() {
        let folder = std::env::temp_dir().join(format!("keepwatch-jars-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let jar = folder.join("lettuce-core-6.3.jar");
        let _jar = File::create(&jar).unwrap();
        let _other = File::create(folder.join("lettuce-core-6.3.jar.part")).unwrap();
        let mut found = BTreeSet::new();
        open_jars(Path::new("/proc/self/fd"), &mut found);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, ["/lettuce-core-6.3.jar".to_owned()].into());
    }

    #[test]
    fn kernel_threads_and_mount_helpers_are_the_kernel_and_others_are_not() {
        for name in ["kworker/u8:1", "mount.cifs", "mount.nfs", "kernel (nfs)", "nfsv4.1-svc"] {
            assert!(Traces::of_name(name).is_kernel(), "{name}");
        }
        for name in ["kworkerx", "mountd", "kerneloops", "ganesha.nfsd"] {
            assert!(!Traces::of_name(name).is_kernel(), "{name}");
        }
    }

    #[test]
    fn the_first_word_of_a_command_line_names_the_program() {
        for (cmdline, program) in [
            (&b"/usr/bin/python3.11\0/app/web.py\0--password=x\0"[..], Some("python3.11")),
            (b"java\0-jar\0app.jar\0", Some("java")),
            (b"nginx: master process /usr/sbin/nginx", Some("nginx")),
            (b"postgres: checkpointer \0", Some("postgres")),
            (b"-bash\0", Some("bash")),
            (b"/tmp/\x1b[2J\0", Some("\\u{1b}[2J")),
            (b"", None),
        ] {
            assert_eq!(first_word(cmdline).unwrap().as_deref(), program, "{cmdline:?}");
        }
    }

    #[test]
    fn our_own_process_shows_itself() {
        let traces = Traces::of_process(std::process::id());
        assert!(traces.executable.is_some_and(|name| name.starts_with("keepwatch")));
        assert!(traces.mapped.is_empty() && traces.go.is_none());
        assert!(traces.are_files_read, "it has loaded no client's library");
        assert_eq!(Traces::of_process(u32::MAX), Traces::default());
    }
}
