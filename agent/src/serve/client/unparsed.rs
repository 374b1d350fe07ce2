//! Lines of an answer as the agent wrote them, whole and harmless, but not parsed: what a newer agent knows of a
//! connection reaches stdout through an older command, and a row costs a copy.

use super::chunked::malformed;
use serde_json::{Map, Value};
use std::io::{self, BufRead};

/// Passes on lines, as many at once as have come, until `each` returns false. A line without an end is an error: the
/// answer was cut.
pub(super) fn each_block(
    body: &mut impl BufRead,
    max_line: usize,
    mut each: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut begun = Vec::new();
    let mut is_first = true;
    loop {
        let bytes = body.fill_buf()?;
        if bytes.is_empty() {
            let is_whole = begun.is_empty();
            return if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let len = bytes.len();
        let mut whole = whole_lines(bytes);
        let rest = bytes.get(whole.len()..).unwrap_or_default();
        if !begun.is_empty() {
            // Only the line that began in the last block is copied.
            let len = whole.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let (end, others) = whole.split_at(len);
            begun.extend_from_slice(end);
            whole = others;
        }
        for lines in [whole_lines(&begun), whole] {
            if !pass(lines, &mut is_first, &mut each)? {
                return Ok(());
            }
        }
        if begun.ends_with(b"\n") {
            begun.clear();
        }
        begun.extend_from_slice(rest);
        if begun.len() > max_line {
            return Err(malformed("too long a line"));
        }
        body.consume(len);
    }
}

/// The bytes up to the last line end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    bytes.get(..len).unwrap_or_default()
}

/// Passes on lines that are what they should be; whether more are wanted.
fn pass(
    lines: &[u8],
    is_first: &mut bool,
    each: &mut impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    if lines.is_empty() {
        return Ok(true);
    }
    let text = harmless(lines)?;
    let mut has_signs_of_life = false;
    for line in text.split_terminator('\n') {
        if line.is_empty() {
            has_signs_of_life = true;
            continue;
        }
        if !line.starts_with('{') || !line.ends_with('}') {
            return Err(malformed("a line that is no JSON object"));
        }
        if std::mem::take(is_first) {
            parse(line)?;
        }
    }
    if !has_signs_of_life {
        return Ok(each(lines));
    }
    let mut lines = text.split_inclusive('\n').filter(|line| *line != "\n");
    Ok(lines.all(|line| each(line.as_bytes())))
}

/// The lines as text, unless a terminal would obey it: JSON writes control characters as `\u001b`.
fn harmless(lines: &[u8]) -> io::Result<&str> {
    let text = std::str::from_utf8(lines).map_err(|_| malformed("a line that is no UTF-8"))?;
    // Without a branch a byte, so that many are looked at at once.
    let is_plain =
        lines.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\n'));
    if !is_plain && text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(malformed("a control character in a line"));
    }
    Ok(text)
}

/// Parses the first line, to find out that another program answers. To parse them all would cost as much as the rest
/// together; a cut answer is found without it, by its missing end.
fn parse(line: &str) -> io::Result<()> {
    let object: Result<Map<String, Value>, _> = serde_json::from_str(line);
    object.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read as _};

    const MAX_LINE: usize = 1000;

    /// What is passed on of `bytes` when each read of the socket returns at most `step` of them, and how it ended.
    fn passed(bytes: impl AsRef<[u8]>, step: usize) -> (String, io::Result<()>) {
        let mut passed = Vec::new();
        let mut body = BufReader::with_capacity(step, bytes.as_ref());
        let ended = each_block(&mut body, MAX_LINE, |lines| {
            assert!(lines.ends_with(b"\n"), "whole lines only");
            passed.extend_from_slice(lines);
            true
        });
        (String::from_utf8(passed).unwrap(), ended)
    }

    #[test]
    fn fields_of_a_newer_agent_pass_as_they_were_written() {
        let lines = "{\"id\":\"sk:1\",\"new\":{\"a\":[1.50,null]},\"name\":\"\\u001b[2J \u{e9}\"}\n\
                     {\"id\":\"sk:2\",\"new\":\"}\\n{\"}\n{}\n";
        for step in 1..=lines.len() {
            let (passed, ended) = passed(lines, step);
            assert_eq!(passed, lines, "{step}");
            ended.unwrap();
        }
        assert_eq!(passed("", 9).0, "");
    }

    #[test]
    fn a_cut_line_is_an_error_and_not_passed_on() {
        let lines = "{\"a\":{\"b\":1}}\n{\"a\":{\"b\":2}}\n";
        for len in 0..lines.len() {
            let (sent, _) = lines.split_at(len);
            let (passed, ended) = passed(sent, 5);
            let n_whole = sent.matches('\n').count();
            assert_eq!(passed.matches('\n').count(), n_whole, "{len}");
            let ended = ended.map_err(|error| error.kind());
            let is_cut = len > 0 && !sent.ends_with('\n');
            assert_eq!(ended, if is_cut { Err(io::ErrorKind::UnexpectedEof) } else { Ok(()) });
        }
    }

    #[test]
    fn no_control_character_is_passed_on() {
        let controls = (0..0x20).chain([0x7f]).filter(|&byte| byte != b'\n');
        let raw = controls.map(|byte| vec![byte]).chain([
            "\u{9b}2J".into(),
            vec![0x9b],
            vec![0xc3],
            vec![0xff, 0xfe],
        ]);
        for raw in raw {
            let line = [b"{\"a\":\"", raw.as_slice(), b"\"}\n"].concat();
            for step in [1, 64] {
                let (passed, ended) = passed(&line, step);
                assert_eq!(passed, "", "{raw:?}");
                assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData, "{raw:?}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_another_program() {
        for answer in
            ["hello\n", "[1]\n", "{\"a\":1\n", "{hello}\n", "{\"a\":1}{}\n", "{}\nhello\n"]
        {
            for step in [1, 64] {
                let (passed, ended) = passed(answer, step);
                assert!(passed.is_empty() || passed == "{}\n", "{answer:?}: {passed:?}");
                assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData, "{answer:?}");
            }
        }
    }

    #[test]
    fn a_sign_of_life_is_no_row() {
        for step in [1, 3, 64] {
            let (passed, ended) = passed("\n{}\n\n\n{\"a\":1}\n\n", step);
            ended.unwrap();
            assert_eq!(passed, "{}\n{\"a\":1}\n", "{step}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory_without_end() {
        let endless = format!("{{\"a\":\"{}", "x".repeat(1 << 20));
        let mut body = BufReader::with_capacity(64, endless.as_bytes());
        let ended = each_block(&mut body, MAX_LINE, |_| true);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let rest = body.read_to_end(&mut vec![]).unwrap();
        assert!(rest > (1 << 20) - 2 * MAX_LINE, "{rest} bytes were left alone");
    }

    #[test]
    fn a_command_that_has_enough_gets_no_more() {
        let mut body = "{}\n\n{}\n{}\n".as_bytes();
        let mut n_blocks = 0;
        each_block(&mut body, MAX_LINE, |_| {
            n_blocks += 1;
            n_blocks < 2
        })
        .unwrap();
        assert_eq!(n_blocks, 2);
    }
}
