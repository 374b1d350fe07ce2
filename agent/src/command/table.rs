//! Columns and lines of a screen. What counts is the width there: a letter of Chinese takes two columns, an
//! accent none.

use super::socket_text::Style;
use std::{
    array,
    io::{self, Write},
    iter,
};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that a text takes on a screen.
pub(super) fn width(text: &str) -> usize {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain { text.len() } else { text.width() }
}

/// The text in exactly this number of columns: filled with spaces, or cut and marked with an ellipsis.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let mut fitted = cut(text, columns);
    let rest = columns.saturating_sub(width(&fitted));
    fitted.extend(iter::repeat_n(' ', rest));
    fitted
}

/// The text in at most this number of columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken <= room
    };
    text.chars().take_while(fits).chain(['\u{2026}']).collect()
}

/// The width that each column needs.
pub(super) fn widths<const N: usize>(headings: [&str; N], lines: &[[String; N]]) -> [usize; N] {
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    array::from_fn(|column| {
        let heading = headings.get(column).map_or(0, |heading| width(heading));
        cells(column).map(|cell| width(cell)).fold(heading, usize::max)
    })
}

/// Cells in columns of these widths, with two spaces between.
pub(super) fn aligned(cells: &[String], widths: &[usize]) -> String {
    cells.iter().zip(widths).map(|(cell, width)| fitted(cell, *width) + "  ").collect()
}

/// Writes lines in columns under their headings, and an empty line; nothing where there is no line.
pub(super) fn write_table<const N: usize>(
    out: &mut impl Write,
    style: Style,
    headings: [&str; N],
    lines: &[[String; N]],
) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let widths = widths(headings, lines);
    let heading = aligned(&headings.map(str::to_owned), &widths);
    writeln!(out, "{}", style.paint(heading.trim_end(), "1"))?;
    let mut text = String::new();
    for line in lines {
        text.clear();
        // None is wider than its column.
        for (cell, columns) in line.iter().zip(widths) {
            text.push_str(cell);
            text.extend(iter::repeat_n(' ', columns.saturating_sub(width(cell)) + 2));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    writeln!(out)
}

/// Lines of words, none wider than `columns` unless one word is. A number stays with its unit.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    lines(text, columns, false)
}

/// The same for a screen: a word that is too long is broken.
pub(super) fn broken(text: &str, columns: usize) -> Vec<String> {
    lines(text, columns, true)
}

fn lines(text: &str, columns: usize, break_words: bool) -> Vec<String> {
    const FIRM: &str = "\u{a0}";
    let is_unit = |word: &str| {
        matches!(word.trim_end_matches([',', '.', ':', ';', ')']), "s" | "ms" | "min" | "h" | "d")
    };
    let space = |word: &str| if is_unit(word) { FIRM } else { " " };
    let text: String = text.split(' ').flat_map(|word| [space(word), word]).skip(1).collect();
    let options = Options::new(columns)
        .break_words(break_words)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(&text, options).iter().map(|line| line.replace(FIRM, " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_width_on_the_screen() {
        assert_eq!(fitted("数据库", 7), "数据库 ");
        assert_eq!(fitted("数据库", 5), "数据\u{2026}");
        assert_eq!(fitted("数据库", 4), "数\u{2026} ", "half a letter is not shown");
        assert_eq!(cut("postgres", 0), "");
        let lines = [["数据库".to_owned(), "1".to_owned()], ["db".to_owned(), String::new()]];
        assert_eq!(widths(["NAME", "N"], &lines), [6, 1]);
    }

    #[test]
    fn lines_are_broken_between_words_but_not_before_a_unit() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("toolong x", 4), ["toolong", "x"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("once 5 min 50 s.", 12), ["once 5 min", "50 s."]);
    }

    #[test]
    fn on_a_screen_a_word_that_is_too_long_is_broken() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("a 0123456789 b", 4), ["a", "0123", "4567", "89 b"]);
        assert_eq!(broken("数据库", 4), ["数据", "库"]);
        assert_eq!(broken("", 4), [""]);
    }
}
