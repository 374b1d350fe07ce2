//! The software: where it is, and which version.

use crate::needed::Needed;
use keepwatch_tests::tool;
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What `cargo xtask cases` has fetched, and what the machine has.
#[derive(Debug)]
pub(crate) struct SoftwareKit {
    folder: PathBuf,
}

impl SoftwareKit {
    pub(crate) fn find() -> Self {
        let given = env::var_os("KEEPWATCH_TOOLS").map(PathBuf::from);
        let tools =
            given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools"));
        Self { folder: tools.join("cases") }
    }

    /// The interpreter of the virtual environment, or the machine's own.
    pub(crate) fn python(&self) -> PathBuf {
        let ours = self.folder.join("venv/bin/python3");
        if ours.exists() { ours } else { "python3".into() }
    }

    /// A program that came with a package of the virtual environment.
    pub(crate) fn python_program(&self, name: &str) -> PathBuf {
        self.folder.join("venv/bin").join(name)
    }

    /// A folder for what a compiler keeps.
    pub(crate) fn cache(&self, name: &str) -> PathBuf {
        self.folder.join("cache").join(name)
    }

    /// Where Node finds packages.
    pub(crate) fn node_modules(&self) -> PathBuf {
        self.folder.join("npm/node_modules")
    }

    /// The version of what is needed; none if it is not here.
    pub(crate) fn version(&self, needed: Needed) -> Option<String> {
        match needed {
            Needed::Program(name) => version_of_program(name),
            Needed::Python(name) => {
                let ask = format!("import importlib.metadata as m; print(m.version('{name}'))");
                printed(Command::new(self.python()).args(["-c", &ask])).filter(|it| !it.is_empty())
            }
            Needed::Node(name) => {
                let file = self.node_modules().join(name).join("package.json");
                let package: serde_json::Value =
                    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
                package.get("version")?.as_str().map(str::to_owned)
            }
        }
    }
}

/// The first number with a dot in what a program says of its version.
fn version_of_program(name: &str) -> Option<String> {
    let program = find_program(name)?;
    let option = match name {
        "ssh" => "-V",
        "nginx" | "haproxy" | "rsyslogd" | "perl" => "-v",
        "go" => "version",
        "mosquitto" => "-h",
        _ => "--version",
    };
    let text = printed_in_any_way(Command::new(program).arg(option))?;
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    let versions = words.filter_map(|word| {
        let begin = word.find(|letter: char| letter.is_ascii_digit())?;
        let version = word.get(begin..)?.trim_end_matches('.');
        version.contains('.').then(|| version.to_owned())
    });
    Some(versions.into_iter().next().unwrap_or_else(|| "of unknown version".to_owned()))
}

/// A program that was unpacked, or is on PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let found = tool::program(name);
    if found.is_absolute() {
        return Some(found);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(system).map(|folder| folder.join(name));
    places.find(|place| place.is_file())
}

/// A folder of what was unpacked of Debian.
pub(crate) fn unpacked(folder: &str) -> PathBuf {
    let given = env::var_os("KEEPWATCH_TOOLS").unwrap_or_else(|| OsString::from("target/tools"));
    Path::new(&given).join("debian").join(folder)
}

/// What lets an unpacked program find its own libraries, which look where Debian installs them: variables for it. `folder` takes
/// what has to stand in a file.
pub(crate) fn libraries(name: &str, folder: &Path) -> Vec<(&'static str, OsString)> {
    let newest = |below: &str, wanted: &str| {
        let folders = fs::read_dir(unpacked(below)).into_iter().flatten().flatten();
        let found = folders.map(|entry| entry.path()).filter(|path| path.join(wanted).exists());
        found.max()
    };
    match name {
        "ruby" => {
            let scripts = newest("usr/lib/ruby", "socket.rb");
            let compiled = newest("usr/lib/x86_64-linux-gnu/ruby", "socket.so");
            let paths = env::join_paths(scripts.into_iter().chain(compiled));
            paths.into_iter().map(|paths| ("RUBYLIB", paths)).collect()
        }
        "php" => {
            let extensions = newest("usr/lib/php", "sockets.so");
            let lines = extensions.map(|extensions| {
                format!("extension_dir={}\nextension=sockets\n", extensions.display())
            });
            let is_written =
                lines.is_some_and(|lines| fs::write(folder.join("unpacked.ini"), lines).is_ok());
            is_written.then(|| ("PHP_INI_SCAN_DIR", folder.into())).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn printed(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Some print their version to stderr, or end with an error after it.
fn printed_in_any_way(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    Some(
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}
