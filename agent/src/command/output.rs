//! stdout: data.

use super::socket_text::Size;
use std::{
    io::{self, BufWriter, IsTerminal as _, StdoutLock},
    os::fd::AsFd,
};

/// stdout, buffered in pieces that suit a pipe.
pub(super) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Whether stdout is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdout may show colours (no-color.org: any value but an empty one forbids).
pub(super) fn in_colour(allowed: bool) -> bool {
    allowed && is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The size of the terminal, if stdout is one and knows it.
pub(super) fn size() -> Option<Size> {
    size_of(io::stdout())
}

/// The size of this terminal, if it is one and knows it.
pub(super) fn size_of(terminal: impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    let (columns, lines) = (size.ws_col.into(), size.ws_row.into());
    (columns > 0 && lines > 0).then_some(Size { columns, lines })
}
