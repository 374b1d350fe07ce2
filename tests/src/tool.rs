//! Where the programs are that the tests run.

use keepwatch::tested::misspelt_variables;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// The `keepwatch` binary: `KEEPWATCH_BIN`, or the one built beside the tests.
pub fn keepwatch() -> PathBuf {
    static MISSPELT: LazyLock<Vec<(String, String)>> = LazyLock::new(misspelt_variables);
    assert!(MISSPELT.is_empty(), "variables that nobody reads, and what was meant: {MISSPELT:?}");
    let given = env::var_os("KEEPWATCH_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| beside("keepwatch"));
    assert!(
        path.is_file(),
        "no keepwatch binary at {}: run the tests by `cargo xtask test`, or set KEEPWATCH_BIN",
        path.display()
    );
    path
}

/// A binary of this crate, from another binary of it or from a test.
pub fn beside(name: &str) -> PathBuf {
    let this = env::current_exe().expect("our own path");
    let folder = this.parent().expect("a folder");
    // Tests are in `deps`, binaries one above.
    let folder = if folder.ends_with("deps") { folder.parent().expect("a folder") } else { folder };
    folder.join(name)
}

/// A program of others: as `cargo xtask setup` unpacked it, or else the system's own.
pub fn program(name: &str) -> PathBuf {
    let given = env::var_os("KEEPWATCH_TOOLS").map(PathBuf::from);
    let tools =
        given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools"));
    let unpacked = tools.join("bin").join(name);
    if unpacked.is_file() { unpacked } else { name.into() }
}

/// Whether the kernel says itself (/proc/config.gz) that all these options are built in.
pub fn kernel_has(options: &[&str]) -> bool {
    let config = Command::new("zcat").arg("/proc/config.gz").output();
    let config = config.map(|output| output.stdout).unwrap_or_default();
    let config = String::from_utf8_lossy(&config);
    options.iter().all(|option| config.contains(&format!("\nCONFIG_{option}=y\n")))
}

/// The address of a kernel symbol; 0 where this process may not know it.
pub fn kernel_symbol(name: &str) -> Option<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms").expect("/proc/kallsyms");
    let line = symbols.lines().find(|line| line.split_whitespace().nth(2) == Some(name))?;
    u64::from_str_radix(line.split(' ').next()?, 16).ok()
}

/// The day and the kernel, as a page says when and where it was written.
pub fn tried_on() -> String {
    let printed = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().expect("date and uname");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    format!(
        "Tried on {}, Linux {}.",
        printed("date", &["-u", "+%Y-%m-%d"]),
        printed("uname", &["-rm"])
    )
}

/// Whether this kernel lets hooks make socket cookies (since 5.12), by the names of its functions.
pub fn kernel_has_cookies_for_hooks() -> bool {
    static ASKED: LazyLock<bool> = LazyLock::new(|| {
        let names = fs::read_to_string("/proc/kallsyms").expect("/proc/kallsyms");
        names.lines().any(|line| line.ends_with(" bpf_get_socket_ptr_cookie"))
    });
    *ASKED
}

/// Whether this kernel can bind an iterator over mappings to one process (since 6.1), by the name of a function.
pub fn kernel_has_process_iterators() -> bool {
    kernel_symbol("bpf_iter_attach_task").is_some()
}

/// A folder of its own, open to every user, gone when dropped.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// A new, empty folder.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("keepwatch-test-{}-{number}", process::id()));
        fs::create_dir(&path).expect("a new temporary folder");
        let all = rustix::fs::Mode::from_raw_mode(0o1777);
        rustix::fs::chmod(&path, all).expect("chmod of our folder");
        Self(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for TemporaryFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
