//! As much of PromQL as it takes to see which series an expression reads. Whether it is PromQL at
//! all is for promtool to say.
#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "part of the tests: positions that were found"
)]

use std::collections::BTreeSet;

/// What an expression reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its selectors, as they come.
    pub selectors: Vec<Selector>,
    /// The labels that it groups, matches or joins by.
    pub labels: BTreeSet<String>,
    /// The labels that it makes of values.
    pub made: BTreeSet<String>,
}

/// A selector like `name{matchers}[range]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The name of the metric.
    pub name: String,
    /// The matchers: label, operator, value.
    pub matchers: Vec<(String, String, String)>,
    /// What stands in brackets.
    pub range: Option<String>,
    /// The function whose first argument it is.
    pub function: Option<String>,
}

impl Selector {
    /// Whether it has exactly this matcher.
    pub fn has(&self, label: &str, operator: &str, value: &str) -> bool {
        self.matchers
            .iter()
            .any(|(l, o, v)| (l.as_str(), o.as_str(), v.as_str()) == (label, operator, value))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

/// Reads an expression, or the `label_values(...)` of a variable.
pub fn read(expr: &str) -> Reading {
    let tokens = tokens(expr);
    let mut reading = Reading::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let opens = tokens.get(at + 1) == Some(&Token::Sign('('));
        match token {
            Token::Word(word) if opens && GROUPING.contains(&word.as_str()) => {
                let end = find(&tokens, at, ')');
                reading.labels.extend(words(&tokens[at + 2..end]));
                at = end;
            }
            Token::Word(word)
                if is_metric(word, tokens.get(at + 1)) && !follows_offset(&tokens, at) =>
            {
                let mut selector = Selector { name: word.clone(), ..Selector::default() };
                selector.function = called(&tokens, at);
                if tokens.get(at + 1) == Some(&Token::Sign('{')) {
                    let end = find(&tokens, at, '}');
                    selector.matchers = matchers(&tokens[at + 2..end]);
                    at = end;
                }
                if tokens.get(at + 1) == Some(&Token::Sign('[')) {
                    let end = find(&tokens, at, ']');
                    selector.range = words(&tokens[at + 2..end]).next();
                    at = end;
                }
                reading.selectors.push(selector);
            }
            // It makes a label of values.
            Token::Word(word) if word == "count_values" => {
                let made = tokens[at..].iter().find_map(|token| match token {
                    Token::Text(label) => Some(label.clone()),
                    _ => None,
                });
                reading.made.extend(made);
            }
            Token::Word(word) if word == "label_replace" => {
                reading.made.extend(first_text_of_call(&tokens[at + 1..]));
            }
            // A range of something that is no selector: `[5m]` after a closing parenthesis.
            Token::Sign('[') => at = find(&tokens, at, ']'),
            _ => {}
        }
        at += 1;
    }
    reading
}

/// The first text among the arguments of a call itself, not of what is called or selected in them.
fn first_text_of_call(tokens: &[Token]) -> Option<String> {
    let mut depth = 0_u32;
    for token in tokens {
        match token {
            Token::Sign('(' | '{') => depth += 1,
            Token::Sign(')' | '}') if depth == 1 => return None,
            Token::Sign(')' | '}') => depth -= 1,
            Token::Text(label) if depth == 1 => return Some(label.clone()),
            _ => {}
        }
    }
    None
}

fn is_metric(word: &str, next: Option<&Token>) -> bool {
    let is_number = word.starts_with(|c: char| c.is_ascii_digit() || c == '$');
    let aggregates =
        matches!(next, Some(Token::Word(next)) if ["by", "without"].contains(&next.as_str()));
    let is_keyword = GROUPING.contains(&word) || OPERATORS.contains(&word);
    !is_number && !is_keyword && !aggregates && next != Some(&Token::Sign('('))
}

fn follows_offset(tokens: &[Token], at: usize) -> bool {
    at > 0 && tokens[at - 1] == Token::Word("offset".to_owned())
}

fn called(tokens: &[Token], at: usize) -> Option<String> {
    match tokens.get(at.checked_sub(2)?..at)? {
        [Token::Word(function), Token::Sign('(')] => Some(function.clone()),
        _ => None,
    }
}

fn find(tokens: &[Token], from: usize, sign: char) -> usize {
    let rest = tokens[from..].iter().position(|token| *token == Token::Sign(sign));
    from + rest.unwrap_or_else(|| panic!("no {sign} in {tokens:?}"))
}

fn words(tokens: &[Token]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.clone()),
        _ => None,
    })
}

fn matchers(tokens: &[Token]) -> Vec<(String, String, String)> {
    let matchers =
        tokens.split(|token| *token == Token::Sign(',')).filter(|matcher| !matcher.is_empty());
    matchers
        .map(|matcher| match matcher {
            [Token::Word(label), operator @ .., Token::Text(value)] => {
                let operator = operator.iter().filter_map(|token| match token {
                    Token::Sign(sign) => Some(*sign),
                    _ => None,
                });
                (label.clone(), operator.collect(), value.clone())
            }
            other => panic!("no matcher: {other:?}"),
        })
        .collect()
}

fn tokens(expr: &str) -> Vec<Token> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || "_:$.".contains(c);
    let mut tokens = Vec::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            let end = rest[1..].find('"').unwrap_or_else(|| panic!("an open string in {expr}"));
            tokens.push(Token::Text(rest[1..=end].to_owned()));
            end + 2
        } else if in_word(first) {
            let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            end
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn selectors_are_found_with_their_matchers_ranges_and_functions() {
        let reading = read(
            r#"sum by (a, b) (rate(x_total{c="1", d!~"2|3"}[$__rate_interval])) / on (e) group_left (f)
               max(y offset $__range) or time() - 0.5 * z:sum"#,
        );
        let names: Vec<_> =
            reading.selectors.iter().map(|selector| selector.name.as_str()).collect();
        assert_eq!(names, ["x_total", "y", "z:sum"]);
        let x = &reading.selectors[0];
        assert!(x.has("c", "=", "1") && x.has("d", "!~", "2|3") && !x.has("c", "=~", "1"));
        assert_eq!(x.range.as_deref(), Some("$__rate_interval"));
        assert_eq!(x.function.as_deref(), Some("rate"));
        assert_eq!(reading.selectors[1].function.as_deref(), Some("max"));
        assert_eq!(reading.labels.into_iter().collect::<Vec<_>>(), ["a", "b", "e", "f"]);
    }

    #[test]
    fn a_label_that_is_made_of_values_is_known() {
        let reading = read(r#"count by (a, b) (count_values by (a) ("b", x{c="1"}))"#);
        assert_eq!(reading.made.into_iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(reading.selectors.len(), 1);
        assert_eq!(reading.selectors[0].name, "x");
    }

    #[test]
    fn a_label_that_is_replaced_is_known_also_within_another() {
        let inner = r#"label_replace(x{c="1"}, "b", "$1", "c", "(.+)")"#;
        let reading =
            read(&format!(r#"sum by (b, d) (label_replace({inner}, "d", "", "b", ".+"))"#));
        assert_eq!(reading.made.into_iter().collect::<Vec<_>>(), ["b", "d"]);
    }

    #[test]
    fn a_variable_is_read_too() {
        let reading = read(r#"label_values(x{a=~"$a"}, path)"#);
        assert_eq!(reading.selectors[0].name, "x");
        assert_eq!(reading.selectors[1].name, "path");
    }
}
