//! The table in docs/RELIABILITY.md, between its marks.

use crate::trial::{ChaosTrial, TrialOutcome};
use std::{fs, path::Path, process::Command};

const BEGIN: &str = "<!-- cargo xtask chaos --bless writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// Writes the table of what was tried.
pub(crate) fn write(page: &Path, tried: &[(&ChaosTrial, TrialOutcome)]) {
    let text = fs::read_to_string(page).expect("the page");
    let (head, rest) = text.split_once(BEGIN).expect("the first mark");
    let (_, tail) = rest.split_once(END).expect("the second mark");
    fs::write(page, [head, BEGIN, &table(tried), END, tail].concat()).expect("write the page");
}

fn table(tried: &[(&ChaosTrial, TrialOutcome)]) -> String {
    let mut text = format!(
        "\nTried on {}, Linux {}.\n\n| what was done | what must hold | what was seen |\n|---|---|---|\n",
        printed("date", &["-u", "+%Y-%m-%d"]),
        printed("uname", &["-rm"])
    );
    for (trial, outcome) in tried {
        let seen = match outcome {
            Ok(seen) => seen.clone(),
            Err(broken) => format!("**DOES NOT HOLD**: {broken}"),
        };
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        text += &format!("| {} | {} | {} |\n", trial.name, trial.must, cell(&seen));
    }
    text + "\n"
}

fn printed(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().expect("date and uname");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
