//! Numbers with their noun.

use std::fmt::Display;

/// `1 probe`, `2 probes`.
pub(crate) fn counted<N: Copy + Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    if n == N::from(1) { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0_u8, 1, 2].map(|n| counted(n, "probe")), ["0 probes", "1 probe", "2 probes"]);
        assert_eq!(counted(1_u64, "connection"), "1 connection");
    }
}
