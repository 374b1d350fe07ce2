//! The table in docs/RELIABILITY.md, between its marks.

use crate::trial::{ChaosTrial, TrialOutcome};
use keepwatch_tests::tool::tried_on;
use std::{fs, path::Path};

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
        "\n{}\n\n| what was done | what must hold | what was seen |\n|---|---|---|\n",
        tried_on()
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
