//! The word before an advice.

use crate::advice::remedy::{Advice, Holds};

/// The word between one advice and the next: what needs both, what is one way of several, and what holds if no guess
/// was right.
pub(super) const fn joined(before: Option<&Advice>, advice: &Advice) -> &'static str {
    let Some(before) = before else {
        return "fix";
    };
    match (before.holds, advice.holds) {
        _ if advice.needs_previous => "and",
        // What has no line only says what the fix must do.
        _ if before.lines.is_empty() => "fix",
        (Holds::Surely | Holds::IfItIs, Holds::Else) => "else",
        _ => "or",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(holds: Holds, needs_previous: bool, line: &str) -> Advice {
        let lines = (!line.is_empty()).then(|| line.to_owned()).into_iter().collect();
        Advice { place: "code", holds, because: String::new(), lines, client: None, needs_previous }
    }

    fn words(all: &[Advice]) -> Vec<&'static str> {
        let before = std::iter::once(None).chain(all.iter().map(Some));
        before.zip(all).map(|(before, advice)| joined(before, advice)).collect()
    }

    #[test]
    fn what_needs_both_is_and_what_needs_one_is_or() {
        let (surely, guess, last) = (Holds::Surely, Holds::IfItIs, Holds::Else);
        let switch = || advice(surely, false, "on");
        let times = || advice(surely, true, "times");
        assert_eq!(words(&[switch(), times(), switch()]), ["fix", "and", "or"]);
        assert_eq!(words(&[switch(), switch()]), ["fix", "or"]);
        assert_eq!(
            words(&[
                advice(guess, false, "a"),
                advice(guess, true, "b"),
                advice(guess, false, "c"),
                advice(last, false, "d"),
                advice(last, false, "e"),
                advice(last, true, "f"),
            ]),
            ["fix", "and", "or", "else", "or", "and"]
        );
    }

    #[test]
    fn what_has_no_line_is_followed_by_the_fix() {
        let path = advice(Holds::Surely, false, "");
        assert_eq!(words(&[path, advice(Holds::Surely, false, "x")]), ["fix", "fix"]);
    }
}
