//! Names that others chose, made harmless: for a terminal, a log and a label alike.

/// The name as text in which nothing can break a terminal, a log or a label: bytes that are not
/// UTF-8, control characters and bidirectional overrides are written as `\x..` or `\u{..}`.
pub(crate) fn escaped(name: &[u8]) -> String {
    escaped_unless(name, is_harmless)
}

/// The same, with each backslash doubled: no two names have one text.
pub(crate) fn distinct(name: &[u8]) -> String {
    escaped_unless(name, |c| c != '\\' && is_harmless(c))
}

fn escaped_unless(name: &[u8], may_stay: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if may_stay(c) {
                text.push(c);
            } else {
                text.extend(c.escape_default());
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Not a control character (C0, DEL, C1), nor one that changes the direction or hides text.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A name in an identity is no longer: the longest that Kubernetes allows.
pub(crate) const MAX_NAME_LEN: usize = 253;

/// The name escaped, and cut where it is longer than any honest one; none if it is empty.
pub(crate) fn bounded(name: &str) -> Option<Box<str>> {
    let mut text = escaped(name.get(..name.floor_char_boundary(MAX_NAME_LEN))?.as_bytes());
    text.truncate(text.floor_char_boundary(MAX_NAME_LEN));
    (!text.is_empty()).then(|| text.into_boxed_str())
}

/// The label value of everything past the budget.
pub(crate) const OTHER: &str = "~other";

/// The label value of connections whose owner nobody has met (yet).
pub(crate) const UNKNOWN: &str = "~unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_reaches_a_terminal_raw() {
        for byte in 1..=255u8 {
            let escaped = escaped(&[byte, b'z']);
            assert!(!escaped.chars().any(char::is_control), "{byte:#x}");
            assert!(escaped.ends_with('z'), "{byte:#x}");
        }
        assert_eq!(escaped("\u{202e}".as_bytes()), "\\u{202e}");
    }

    #[test]
    fn a_byte_and_the_text_that_stands_for_it_are_told_apart() {
        assert_eq!(distinct(b"a\xff"), r"a\xff");
        assert_eq!(distinct(br"a\xff"), r"a\\xff");
    }

    #[test]
    fn a_name_in_an_identity_is_short_and_not_empty() {
        assert_eq!(bounded("web"), Some("web".into()));
        assert_eq!(bounded(""), None);
        assert_eq!(bounded("a\nb").as_deref(), Some("a\\nb"));
        for long in ["x", "\n", "\u{202e}", "é"] {
            let name = bounded(&long.repeat(100_000)).unwrap();
            assert!(name.len() <= MAX_NAME_LEN && name.len() > MAX_NAME_LEN - 8, "{}", name.len());
        }
    }
}
