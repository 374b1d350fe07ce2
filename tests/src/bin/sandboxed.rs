//! `sandboxed on|off FOLDERS WHAT [WORD]...`: enters the sandbox of an agent with these folders, tries WHAT, and says `done` or
//! `refused ERRNO`. In a thread of its own, for what the first thread gives up holds for all.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "part of the tests: what fails here fails the test that asked for it"
)]

use keepwatch::tested::{reach::of_agent, sandbox::Sandbox};
use keepwatch_tests::kernel::{memory, sandboxed::call_with_nothing};
use rustix::{
    net::{AddressFamily, SocketType, socket},
    process::{Pid, test_kill_process},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixStream,
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
    thread,
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [mode, folders, what @ ..] = words.as_slice() else {
        panic!("expected on|off FOLDERS WHAT");
    };
    if mode == "on" {
        let at = |name| Path::new(folders).join(name);
        let config = at("etc/config.toml");
        let reach = of_agent(&[config], &at("run/k.sock"), &at("state"), &at("host"));
        let sandbox = Sandbox::enter(&reach);
        assert!(sandbox.seccomp.in_force, "{sandbox:?}");
    }
    let what: Vec<String> = what.to_vec();
    let trying =
        thread::spawn(move || attempt(&what.iter().map(String::as_str).collect::<Vec<_>>()));
    match trying.join().expect("an answer") {
        Ok(()) => println!("done"),
        Err(error) => match error.raw_os_error() {
            Some(errno) => println!("refused {errno}"),
            None => panic!("{error}"),
        },
    }
}

fn attempt(words: &[&str]) -> io::Result<()> {
    match *words {
        ["read", path] => fs::read(path).map(drop),
        ["list", path] => fs::read_dir(path).map(drop),
        ["write", path] => fs::write(path, "written"),
        ["append", path] => OpenOptions::new().append(true).open(path).map(drop),
        ["cut", path] => OpenOptions::new().write(true).truncate(true).open(path).map(drop),
        ["remove", path] => fs::remove_file(path),
        ["rename", from, to] => fs::rename(from, to),
        ["link", from, to] => fs::hard_link(from, to),
        ["symlink", to, path] => symlink(to, path),
        ["folder", path] => fs::create_dir(path),
        ["mode", mode, path] => {
            let mode = u32::from_str_radix(mode, 8).expect("a mode");
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
        ["spawn", program] => Command::new(program).status().map(drop),
        ["exec", program] => Err(Command::new(program).exec()),
        ["execute memory of", path] => memory::load(&File::open(path)?),
        ["thread"] => {
            thread::Builder::new().spawn(|| {})?.join().map_err(|_| io::ErrorKind::Other.into())
        }
        ["socket", family, kind] => {
            let number = |text: &str| text.parse().expect("a number");
            let family = AddressFamily::from_raw(number(family));
            socket(family, SocketType::from_raw(number(kind).into()), None)?;
            Ok(())
        }
        ["pair"] => UnixStream::pair().map(drop),
        ["signal", pid] => {
            let pid = Pid::from_raw(pid.parse().expect("a number"));
            Ok(test_kill_process(pid.expect("a process"))?)
        }
        ["call", number] => call_with_nothing(number.parse().expect("a number")),
        _ => panic!("no such attempt: {words:?}"),
    }
}
