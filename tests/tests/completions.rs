//! Shells take the completions that are made for them.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{answer::agent::once, skip::skip, tool::TemporaryFolder};
use std::{fs, process::Command};

/// Runs a program that is there on most systems; none, and says so, where it is not.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        skip(program, "which is not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} ended with {}: {said}", output.status);
    assert_eq!(said, "", "{program} has nothing to complain of");
    Some(String::from_utf8(output.stdout).expect("text"))
}

fn completions(shell: &str, folder: &TemporaryFolder) -> String {
    let script = once(["completions", shell]).stdout;
    let file = folder.file(shell);
    fs::write(&file, script).expect("write the script");
    file.display().to_string()
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = TemporaryFolder::new();
    let script = completions("bash", &folder);
    let completed = |line: &str| {
        let program = format!(
            "source {script}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _keepwatch keepwatch \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        output("bash", &["--norc", "-c", &program])
    };
    let Some(commands) = completed("keepwatch so") else { return };
    assert_eq!(commands.trim_end(), "sockets");
    assert_eq!(completed("keepwatch sockets --verd").expect("bash").trim_end(), "--verdict");
    let sorts = completed("keepwatch top --sort un").expect("bash");
    assert_eq!(sorts.trim_end(), "unanswered");
}

#[test]
fn zsh_and_fish_take_their_scripts() {
    let folder = TemporaryFolder::new();
    for (shell, flag) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = completions(shell, &folder);
        assert!(fs::metadata(&script).is_ok_and(|file| file.len() > 1000), "{shell}");
        output(shell, &[flag, &script]);
    }
}
