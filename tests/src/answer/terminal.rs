//! A terminal as a person has one: a pseudo-terminal, and what would stand on its screen.

use crate::wait;
use rustix::{
    fs::{Mode, OFlags, fcntl_setfl, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};
use std::{
    fs,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    /// The person's side of the pty.
    master: OwnedFd,
    /// The program's end, kept open: what it leaves behind is looked at.
    slave: OwnedFd,
    screen: vt100::Parser,
    before: Termios,
    /// All that was written to it.
    written: Vec<u8>,
}

impl Terminal {
    /// Starts the command with a terminal of this size as its controlling one.
    #[track_caller]
    pub fn start(command: &Command, columns: u16, lines: u16) -> Self {
        // A program that holds the person's end itself never sees it close.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = open(&name, flags, Mode::empty()).expect("its other end");
        fcntl_setfl(&master, OFlags::NONBLOCK).expect("read what is there");
        tcsetwinsize(&master, size(columns, lines)).expect("set its size");
        let before = tcgetattr(&slave).expect("its settings");
        let end = || Stdio::from(slave.try_clone().expect("the program's end"));
        // A session of its own, so that the terminal is the one that controls it.
        let mut in_session = Command::new("setsid");
        in_session.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            in_session.env(name, value.unwrap_or_default());
        }
        in_session.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let child = in_session.spawn().expect("start setsid of util-linux");
        let screen = vt100::Parser::new(lines, columns, 0);
        Self { child, master, slave, screen, before, written: Vec::new() }
    }

    /// The id of the process in the terminal.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types the keys, as a person would.
    pub fn types(&self, keys: &str) {
        let mut written = keys.as_bytes();
        while !written.is_empty() {
            let n = rustix::io::write(&self.master, written).expect("type on the terminal");
            written = written.get(n..).unwrap_or_default();
        }
    }

    /// Another size, as when a window is resized.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.screen.screen_mut().set_size(lines, columns);
        tcsetwinsize(&self.master, size(columns, lines)).expect("set its size");
    }

    /// What stands on the screen now, line by line.
    pub fn lines(&mut self) -> Vec<String> {
        self.read();
        let columns = self.screen.screen().size().1;
        self.screen.screen().rows(0, columns).map(|line| line.trim_end().to_owned()).collect()
    }

    /// All that was written to the terminal, as it was.
    pub fn written(&mut self) -> String {
        self.read();
        String::from_utf8_lossy(&self.written).into_owned()
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub fn wait_for(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&[String]) -> bool,
    ) -> Vec<String> {
        let mut last = Vec::new();
        let seen = wait::within(SOON, || {
            last = self.lines();
            holds(&last).then(|| last.clone())
        });
        seen.unwrap_or_else(|| panic!("not on the screen: {what}\n{}", last.join("\n")))
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait::until("the program ends", SOON, || {
            self.read();
            self.child.try_wait().expect("wait for our own child")
        })
    }

    /// Asserts that the terminal is as it was before the program: settings, screen, cursor.
    #[track_caller]
    pub fn assert_restored(&mut self) {
        self.read();
        let now = tcgetattr(&self.slave).expect("its settings");
        let told = |termios: &Termios| {
            let Termios { input_modes, output_modes, local_modes, control_modes, .. } = termios;
            (*input_modes, *output_modes, *local_modes, *control_modes)
        };
        assert_eq!(told(&now), told(&self.before), "how it treats what is typed");
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the screen that was there before is back");
        assert!(!screen.hide_cursor(), "the cursor is back");
        assert!(!screen.bold() && !screen.inverse(), "letters are plain again");
    }

    /// Whether the program has taken the screen for itself.
    pub fn is_taken(&mut self) -> bool {
        self.read();
        self.screen.screen().alternate_screen()
    }

    fn read(&mut self) {
        let mut piece = [0; 4096];
        // Nothing there now, or nobody at the other end.
        while let Ok(n) = rustix::io::read(&self.master, &mut piece) {
            let Some(new) = piece.get(..n).filter(|new| !new.is_empty()) else { return };
            self.screen.process(new);
            self.written.extend_from_slice(new);
        }
    }

    /// User and system time that the program has used, in ticks of the kernel's clock.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("its stat");
        let fields = stat.rsplit_once(") ").expect("a name in parentheses").1;
        fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum()
    }

    /// Closes the person's end, as when a connection over ssh is lost, and waits for the end of the
    /// program.
    #[track_caller]
    pub fn vanish(&mut self) -> ExitStatus {
        // What stands in for both ends is no terminal.
        let nowhere = || OwnedFd::from(fs::File::open("/dev/null").expect("/dev/null"));
        (self.master, self.slave) = (nowhere(), nowhere());
        wait::until("the program ends without its terminal", SOON, || {
            self.child.try_wait().expect("wait for our own child")
        })
    }
}

const fn size(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: lines, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
