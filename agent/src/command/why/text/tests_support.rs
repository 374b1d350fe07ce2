//! The page as tests read it.

use super::WhyText;
use crate::command::{socket_text::Style, why::answer::Judged};

/// What is said of these cases, in one line.
pub(super) fn said_of(cases: &[Judged], peer: Option<&str>) -> String {
    let page = WhyText {
        cases,
        peer,
        window: "in the last 24 h",
        notes: &[],
        in_full: false,
        now: 0.0,
        style: Style { colour: false },
    };
    page.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
