//! Commands that are printed for a person: with the options of this call that they need to mean the same agent and folder.

use super::{DEFAULT_SOCKET, DEFAULT_STATE_DIR, LimitArgs, SocketArgs, StateArgs};
use crate::model::judgement::limit_source::GivenBy;
use std::{borrow::Cow, ffi::OsStr, path::Path};

/// Options that follow a printed command, each after a space; empty if nothing differs from what is built in. A variable or a file
/// may not be there for the next call: another shell, or sudo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CarriedOptions(String);

impl CarriedOptions {
    /// The folder of the history and the journal, if it is another one.
    pub(crate) fn with_state(self, state: &StateArgs) -> Self {
        self.unless(DEFAULT_STATE_DIR, "--state-dir", &state.state_dir)
    }

    /// The agent's socket, if it is another one.
    pub(crate) fn with_socket(self, socket: &SocketArgs) -> Self {
        self.unless(DEFAULT_SOCKET, "--socket", &socket.socket)
    }

    /// The limits that were typed.
    pub(crate) fn with_limits(mut self, limits: &LimitArgs) -> Self {
        if limits.idle_limit_by == Some(GivenBy::Flag) {
            self.push("--idle-limit", limits.idle_limit.to_string().as_ref());
        }
        if limits.path_by == Some(GivenBy::Flag) {
            for path in &limits.path {
                self.push("--path", path.to_string().as_ref());
            }
        }
        self
    }

    /// `keepwatch COMMAND` with them.
    pub(crate) fn after(&self, command: &str) -> String {
        format!("keepwatch {command}{}", self.0)
    }

    fn unless(mut self, default: &str, flag: &str, path: &Path) -> Self {
        if path != Path::new(default) {
            self.push(flag, path.as_os_str());
        }
        self
    }

    fn push(&mut self, flag: &str, value: &OsStr) {
        self.0 += &format!(" {flag} {}", shell_word(&value.to_string_lossy()));
    }
}

/// A word as a shell takes it: in quotes if it needs them.
fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
    }
}

/// What a program is called in a printed command: by its name, or by its process id if the name would be taken for an option, an
/// address or a number, or needs quotes.
pub(crate) fn owner_word(name: &str, pid: u32) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
    if is_word { name.to_owned() } else { pid.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::idle_limit;

    fn state(folder: &str) -> StateArgs {
        StateArgs { state_dir: folder.into() }
    }

    fn socket(file: &str) -> SocketArgs {
        SocketArgs { socket: file.into() }
    }

    #[test]
    fn a_printed_command_means_the_folder_and_the_agent_of_this_call() {
        let carried = CarriedOptions::default()
            .with_socket(&socket("/run/kw.sock"))
            .with_state(&state("/tmp/n12/state"));
        let undo = carried.after("fix --undo 1");
        assert_eq!(undo, "keepwatch fix --undo 1 --socket /run/kw.sock --state-dir /tmp/n12/state");
        // The look-alike: what is built in is not typed.
        let usual = CarriedOptions::default()
            .with_socket(&socket(DEFAULT_SOCKET))
            .with_state(&state(DEFAULT_STATE_DIR));
        assert_eq!(usual.after("fix --undo 1"), "keepwatch fix --undo 1");
    }

    #[test]
    fn what_a_shell_would_not_take_for_one_word_is_quoted() {
        let after = |folder| CarriedOptions::default().with_state(&state(folder)).after("x");
        assert_eq!(after("/a b"), "keepwatch x --state-dir '/a b'");
        assert_eq!(after("/it's $HOME"), "keepwatch x --state-dir '/it'\\''s $HOME'");
        assert_eq!(after("/a-b_c.d"), "keepwatch x --state-dir /a-b_c.d");
    }

    #[test]
    fn limits_that_were_typed_are_typed_again_and_those_of_a_file_hold_by_themselves() {
        let limits = |by| LimitArgs {
            idle_limit: idle_limit("azure").unwrap(),
            path: Vec::new(),
            idle_limit_by: by,
            path_by: None,
        };
        let after = |by| CarriedOptions::default().with_limits(&limits(by)).after("why app");
        assert_eq!(after(Some(GivenBy::Flag)), "keepwatch why app --idle-limit azure");
        assert_eq!(after(Some(GivenBy::ConfigFile)), "keepwatch why app");
    }

    #[test]
    fn a_name_that_would_be_taken_for_something_else_is_a_process_id() {
        assert_eq!(owner_word("pgbouncer", 7), "pgbouncer");
        for name in ["10.0.0.1", "8080", "-sh", "(sd-pam)", "my app", ""] {
            assert_eq!(owner_word(name, 7), "7", "{name}");
        }
    }
}
