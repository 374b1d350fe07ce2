//! How a connection stands to the time that was asked about.

use super::Life;

/// How a connection stands to the time that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InWindow {
    /// It ended in it, or its trouble began in it.
    BeganOrEnded,
    /// It was there, and nothing that is wrong with it began.
    Lasted,
    /// Its trouble had begun before, and went on through it.
    HungBefore,
}

impl Life {
    /// Whether something of it began or ended in the time that was asked for, or none was.
    pub(crate) fn is_of_window(&self) -> bool {
        self.in_window.is_none_or(|it| it == InWindow::BeganOrEnded)
    }
}
