//! What a test leaves out because the machine lacks it, in the one form that `cargo xtask` reads.

use std::fmt::Display;

/// Says that this test leaves `what` out. On a host `xtask/src/test/skip.rs` decides whether it may, in a guest
/// the features that `src/bin/guest.rs` asks for.
pub fn skip(what: &str, why: impl Display) {
    assert!(!what.is_empty() && !what.contains(','), "`{what}` ends at its first comma");
    eprintln!("skipped: {what}, {why}");
}

#[cfg(test)]
mod tests {
    use super::skip;

    #[test]
    #[should_panic(expected = "ends at its first comma")]
    fn what_is_left_out_is_one_name() {
        skip("cgroups, of any version", "not mounted");
    }
}
