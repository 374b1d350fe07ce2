//! Plain English: turns of phrase at which a reader stops, in comments, documents, texts and names of tests.
//!
//! Lines are joined, so a phrase is found across the end of a line too. Code is read like prose: it has none
//! of these words in a row.

use std::path::Path;

/// Before "who" these words leave out the noun: "for who asks". "For clients that ask" has it.
const PREPOSITIONS: [&str; 9] = ["as", "by", "for", "from", "of", "only", "to", "where", "with"];
/// After "who", at the beginning of a clause, they leave out the noun too: "one: who asks gets it".
const VERBS: [&str; 46] = [
    "answers", "asked", "asks", "builds", "calls", "can", "cannot", "comes", "connects", "copies",
    "gets", "gives", "has", "holds", "is", "knows", "links", "listens", "looks", "makes", "may",
    "must", "needs", "opens", "owns", "reads", "runs", "says", "scrolls", "sees", "sends",
    "starts", "takes", "tells", "trusts", "types", "typed", "uses", "waits", "wants", "was",
    "watched", "watches", "will", "would", "writes",
];
/// What a clause begins after. After a comma there is a noun: "the user, who asks".
const OPENERS: [&str; 9] = [".", ":", ";", "(", "[", "|", "*", "\"", "!"];
/// Names of functions with fewer words are no sentences.
const SENTENCE: usize = 4;
/// Not ours to judge: other people's texts, lists of crates, and this list of phrases.
const EXCUSED: [&str; 4] =
    ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "xtask/src/tidy/prose.rs"];

/// A word in small letters, or one character between words.
struct Word {
    line: usize,
    text: String,
    is_capital: bool,
}

/// The phrases in a text that are hard to read.
pub(super) fn of_text(path: &Path, text: &str) -> Vec<String> {
    if EXCUSED.iter().any(|excused| path == Path::new(excused)) {
        return Vec::new();
    }
    let in_rust = path.extension().is_some_and(|extension| extension == "rs");
    let words = words(text, in_rust);
    let lines = words.iter().map(|word| word.line);
    let found = lines.enumerate().filter_map(|(at, line)| Some((line, advice(&words, at)?)));
    found.map(|(line, advice)| format!(":{line}: {advice}")).collect()
}

/// What to write instead of the phrase that begins here, if one does.
fn advice(words: &[Word], at: usize) -> Option<&'static str> {
    let text = |at: usize| words.get(at).map_or(".", |word| word.text.as_str());
    let before = at.checked_sub(1).map_or(".", text);
    let is_capital = |at: usize| words.get(at).is_some_and(|word| word.is_capital);
    match (text(at), text(at + 1), text(at + 2)) {
        ("who", ..) if PREPOSITIONS.contains(&before) => {
            Some("\"who\" without a noun: name them (\"for clients that ask\")")
        }
        ("who", verb, _) if VERBS.contains(&verb) && is_headless(words, at, before) => {
            Some("\"who\" without a noun: name them (\"a client that asks\")")
        }
        ("so", "many" | "long", third) if third != "as" => {
            Some("\"so many\" or \"so long\": say which number or time")
        }
        // `None` is a word of Rust, and means what it says.
        ("is" | "are", "none", _) if before != "there" && !is_capital(at + 1) => {
            Some("\"is none\": say what there is not, or what the value means")
        }
        ("of", "which", "no" | "none" | "nothing") => {
            Some("\"of which nothing\": write \"without\", or a sentence of its own")
        }
        ("what", "is", "but") => Some("\"what is but\": name it"),
        _ => None,
    }
}

/// Whether a clause begins with this "who", and is no question.
fn is_headless(words: &[Word], at: usize, before: &str) -> bool {
    let rest = words.get(at..).unwrap_or_default();
    let begins = OPENERS.contains(&before) || rest.first().is_some_and(|who| who.is_capital);
    let end = rest.iter().find(|word| [".", ";", "?"].contains(&word.text.as_str()));
    begins && end.is_none_or(|end| end.text != "?")
}

fn words(text: &str, in_rust: bool) -> Vec<Word> {
    let mut words = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = uncommented(line);
        let sentence = if in_rust { sentence(line) } else { None };
        let mut rest = sentence.as_deref().unwrap_or(line);
        if rest.is_empty() {
            // A paragraph ends.
            rest = ".";
        }
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end.max(first.len_utf8()));
            rest = tail;
            // A backslash continues a text on the next line.
            if !first.is_whitespace() && first != '\\' {
                let is_capital = first.is_uppercase();
                words.push(Word { line: number + 1, text: word.to_lowercase(), is_capital });
            }
        }
    }
    words
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || "_'-".contains(letter)
}

/// The line without what marks it as a comment.
fn uncommented(line: &str) -> &str {
    let line = line.trim();
    let marks = ["///", "//!", "//", "#", "--"];
    marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim_start()
}

/// The name of a test as the sentence that it is.
fn sentence(line: &str) -> Option<String> {
    let (_, after) = line.split_once("fn ")?;
    let name = after.split(|letter| !is_of_word(letter)).next()?;
    (name.split('_').count() >= SENTENCE).then(|| format!(". {}.", name.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::of_text;
    use std::path::Path;

    fn findings(file: &str, text: &str) -> usize {
        of_text(Path::new(file), text).len()
    }

    #[test]
    fn phrases_that_stop_a_reader_are_found() {
        for text in [
            "Opens the files, as who typed sudo",
            "only who gives it back may take it",
            "A link: who cannot read it gets an error",
            "The two formats, one for who asks so",
            "0.0.1 was a draft: who reads it reads what we write",
            "Who waits for a terminal reads no messages.",
            "(who is in front)",
            "The columns of so many letters",
            "Deaths of the last so long: 90m",
            "`sk_err`; 0 is none.",
            "warnings that are none",
            "Suites of which no test ran",
            "A group of which nothing is left",
            "What is but an address has no type",
        ] {
            assert_eq!(findings("docs/A.md", text), 1, "{text}");
            assert_eq!(findings("a.rs", &format!("/// {text}\n")), 1, "{text}");
            assert_eq!(findings("a.rs", &format!("    warn!(\"{text}\");\n")), 1, "{text}");
            assert_eq!(findings("a.sh", &format!("# {text}\n")), 1, "{text}");
        }
    }

    #[test]
    fn plain_phrases_that_look_alike_are_fine() {
        for text in [
            "the peer who sent the SYN",
            "a client who asks, and the user, who typed sudo",
            "Who holds unprotected connections, and with which settings?",
            "who set what and when",
            "to whom it belongs",
            "made if there is none; there are none where they were left out",
            "as long as it lives, so long as it runs, and as many",
            "the option is None",
            "of which two, and which nothing reads",
            "what is butter",
            "It is so. Many are.",
            "For: who called",
        ] {
            assert_eq!(findings("docs/A.md", text), 0, "{text}");
            assert_eq!(findings("a.rs", &format!("/// {text}\n")), 0, "{text}");
        }
        assert_eq!(findings("a.rs", "if limit.is_none() || who.is_none_or(is_so) {\n"), 0);
    }

    #[test]
    fn a_phrase_goes_on_in_the_next_line_but_not_in_the_next_paragraph() {
        assert_eq!(findings("a.rs", "    /// The format for\n    /// who asks.\n"), 1);
        assert_eq!(findings("a.rs", "x(\"the format for \\\n   who asks\")\n"), 1);
        assert_eq!(findings("a.sql", "a TEXT, -- made for\n-- who asks\n"), 1);
        assert_eq!(findings("a.md", "What it is\n\nnone\n"), 0);
        assert_eq!(findings("a.rs", "/// Limits are\n///\n/// none\n"), 0);
        let found = of_text(Path::new("a.rs"), "\n/// All\n/// of so\n/// many.\n");
        assert!(found.iter().all(|line| line.starts_with(":3: ")) && found.len() == 1, "{found:?}");
    }

    #[test]
    fn names_of_tests_are_sentences() {
        for name in ["it_runs_as_who_typed_it", "who_has_enough_stops", "an_unknown_user_is_none"] {
            assert_eq!(findings("a.rs", &format!("    fn {name}() {{\n")), 1, "{name}");
            assert_eq!(findings("a.md", name), 0, "{name}");
        }
        for name in ["is_none", "who_closed_first_shows", "a_user_who_asks_gets_it"] {
            assert_eq!(findings("a.rs", &format!("    fn {name}() {{\n")), 0, "{name}");
        }
    }

    #[test]
    fn the_texts_of_others_are_not_judged() {
        assert_eq!(findings("LICENSE-MIT", "to who asks"), 0);
        assert_eq!(findings("Cargo.lock", "to who asks"), 0);
        assert_eq!(findings("deploy/LICENSE-MIT", "to who asks"), 1);
    }
}
