//! What somebody is looking at, and what keys do to it. Pure: no terminal, no clock.

use super::feed::{Answer, Origin};
use crate::{
    command::socket_text::Size,
    view::{
        event_row::EventRow,
        order::Sort,
        page::{MAX_REACH, Page, PageRequest},
        row::Row,
        value_enum::VerdictChoice,
    },
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Duration;

/// What a key asks of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Draw again.
    Nothing,
    /// Ask for rows that are not here yet.
    Ask,
    /// End the session.
    End,
}

/// Lines above the rows: title, counts, order and words, headings.
pub(super) const HEAD_LINES: usize = 4;
/// Lines below the rows: the keys.
pub(super) const FOOT_LINES: usize = 1;

/// What is shown instead of the list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    List,
    /// The list, while words are typed.
    Typing,
    /// One connection, scrolled down by this number of lines.
    Detail(usize),
    /// The keys and what they do.
    Help,
}

/// The connection that is shown in full.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    /// As it was seen last.
    pub(super) row: Row,
    /// It was not there any more.
    pub(super) is_gone: bool,
    /// What happened to it; none if nobody remembers.
    pub(super) timeline: Option<Vec<EventRow>>,
}

/// What somebody is looking at.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) mode: Mode,
    pub(super) pick: PageRequest,
    pub(super) size: Size,
    pub(super) page: Page,
    /// The place of the page's first row among all that were found.
    pub(super) page_at: usize,
    pub(super) origin: Option<Origin>,
    /// Why the page is not of now.
    pub(super) trouble: Option<String>,
    pub(super) pause: Duration,
    pub(super) chosen: Option<Chosen>,
    /// The row under the cursor, and the first one shown, among all that were found.
    pub(super) cursor: usize,
    pub(super) top: usize,
    /// The connection that the cursor follows once it was moved.
    follows: Option<String>,
    is_paused: bool,
    only_unprotected: bool,
}

impl View {
    /// A view without rows yet.
    pub(super) fn new(pick: PageRequest, size: Option<Size>) -> Self {
        Self {
            mode: Mode::List,
            pick,
            size: size.unwrap_or(Size { columns: 80, lines: 24 }),
            page: Page::default(),
            page_at: 0,
            origin: None,
            trouble: None,
            pause: Duration::ZERO,
            chosen: None,
            cursor: 0,
            top: 0,
            follows: None,
            is_paused: false,
            only_unprotected: false,
        }
    }

    /// Rows that there is room for.
    pub(super) const fn room(&self) -> usize {
        self.size.lines.saturating_sub(HEAD_LINES + FOOT_LINES)
    }

    /// Whether the picture stands still.
    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether only unprotected connections are shown.
    pub(super) const fn shows_only_unprotected(&self) -> bool {
        self.only_unprotected
    }

    /// Rows that are found and can be reached.
    pub(super) fn n_rows(&self) -> usize {
        usize::try_from(self.page.found.min(u64::from(MAX_REACH))).unwrap_or(usize::MAX)
    }

    /// The row at this place among all, if it is on the page.
    pub(super) fn row(&self, place: usize) -> Option<&Row> {
        self.page.rows.get(place.checked_sub(self.page_at)?)
    }

    /// What to ask for: what is shown, and a screen before and after it, for keys that scroll.
    pub(super) fn wish(&self) -> PageRequest {
        let room = self.room().max(1);
        let skip = self.top.saturating_sub(room);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut pick = self.pick.clone();
        if self.only_unprotected {
            pick.filter.verdict = vec![VerdictChoice::Unprotected];
        }
        pick.skip = number(skip);
        pick.limit = number(self.top - skip + 2 * room);
        pick.id = match &self.mode {
            Mode::Detail(_) => self.chosen.as_ref().map(|chosen| chosen.row.id().to_owned()),
            _ => None,
        };
        pick
    }

    /// Takes an answer in.
    pub(super) fn take(&mut self, answer: Answer, pause: Duration) -> Effect {
        let Answer { origin, wish, page, timeline, .. } = answer;
        self.origin = Some(origin);
        self.pause = pause;
        let page = match page {
            Ok(page) => page,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return Effect::Nothing;
            }
        };
        self.trouble = None;
        if let (Some(chosen), Some(id)) = (&mut self.chosen, &wish.id)
            && chosen.row.id() == *id
        {
            chosen.is_gone = page.chosen.is_none();
            chosen.timeline = timeline;
            if let Some(row) = page.chosen.clone() {
                chosen.row = row;
            }
        }
        self.page_at = usize::try_from(wish.skip).unwrap_or_default();
        self.page = page;
        // The cursor stays with the connection that somebody moved it to.
        let place = |id: &String| self.page.rows.iter().position(|row| row.id() == *id);
        if let Some(place) = self.follows.as_ref().and_then(place) {
            self.cursor = self.page_at + place;
        }
        let effect = self.settle();
        // To ask the same again at once would change nothing.
        if self.wish() == wish { Effect::Nothing } else { effect }
    }

    /// Whether it is made for a screen of this size.
    pub(super) fn is_of(&self, columns: u16, lines: u16) -> bool {
        self.size == Size { columns: columns.into(), lines: lines.into() }
    }

    /// Takes the new size of the terminal.
    pub(super) fn resize(&mut self, columns: u16, lines: u16) -> Effect {
        self.size = Size { columns: columns.into(), lines: lines.into() };
        self.settle()
    }

    /// Keeps the cursor on a row and the row on the screen.
    fn settle(&mut self) -> Effect {
        let (room, n_rows) = (self.room().max(1), self.n_rows());
        self.cursor = self.cursor.min(n_rows.saturating_sub(1));
        self.top = self.top.min(n_rows.saturating_sub(room)).min(self.cursor);
        self.top = self.top.max((self.cursor + 1).saturating_sub(room));
        let shown = self.top..(self.top + room).min(n_rows);
        let page = self.page_at..self.page_at + self.page.rows.len();
        let is_here = shown.is_empty() || page.start <= shown.start && shown.end <= page.end;
        if is_here { Effect::Nothing } else { Effect::Ask }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Effect::End;
        }
        match self.mode {
            Mode::Typing => self.key_typing(key),
            Mode::Detail(line) => self.key_detail(key, line),
            Mode::Help => {
                self.mode = Mode::List;
                Effect::Nothing
            }
            Mode::List => self.key_list(key),
        }
    }

    fn key_list(&mut self, key: KeyEvent) -> Effect {
        match key.code {
            KeyCode::Char('q') => Effect::End,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                self.mode = Mode::Help;
                Effect::Nothing
            }
            KeyCode::Char('/') => {
                self.mode = Mode::Typing;
                Effect::Nothing
            }
            KeyCode::Char('s') => self.sort(1),
            KeyCode::Char('S') => self.sort(Sort::ALL.len() - 1),
            KeyCode::Char('r') => {
                self.pick.reverse = !self.pick.reverse;
                self.restart()
            }
            KeyCode::Char('u') => {
                self.only_unprotected = !self.only_unprotected;
                self.restart()
            }
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                Effect::Nothing
            }
            KeyCode::Esc if !self.pick.find.is_empty() => {
                self.pick.find.clear();
                self.restart()
            }
            KeyCode::Enter => self.open(),
            _ => self.moved(key),
        }
    }

    fn key_typing(&mut self, key: KeyEvent) -> Effect {
        let is_plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.mode = Mode::List;
                self.pick.find.clear();
                return self.restart();
            }
            KeyCode::Backspace => {
                self.pick.find.pop();
                return self.restart();
            }
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.pick.find.clear();
                return self.restart();
            }
            // No longer than what could be found.
            KeyCode::Char(c) if is_plain && !c.is_control() && self.pick.find.len() < 256 => {
                self.pick.find.push(c);
                return self.restart();
            }
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => {
                return self.moved(key);
            }
            _ => {}
        }
        Effect::Nothing
    }

    fn key_detail(&mut self, key: KeyEvent, line: usize) -> Effect {
        let page = self.size.lines.saturating_sub(2).max(1);
        let line = match key.code {
            KeyCode::Char('q') => return Effect::End,
            KeyCode::Esc | KeyCode::Enter | KeyCode::Left | KeyCode::Backspace => {
                self.mode = Mode::List;
                return Effect::Ask;
            }
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                line
            }
            KeyCode::Down | KeyCode::Char('j') => line + 1,
            KeyCode::Up | KeyCode::Char('k') => line.saturating_sub(1),
            KeyCode::PageDown => line + page,
            KeyCode::PageUp => line.saturating_sub(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => usize::MAX,
            _ => line,
        };
        self.mode = Mode::Detail(line);
        Effect::Nothing
    }

    /// Moves the cursor, and from then on it follows its connection.
    fn moved(&mut self, key: KeyEvent) -> Effect {
        let room = self.room().max(1);
        self.cursor = match key.code {
            KeyCode::Down | KeyCode::Char('j') => self.cursor + 1,
            KeyCode::Up | KeyCode::Char('k') => self.cursor.saturating_sub(1),
            KeyCode::PageDown => self.cursor + room,
            KeyCode::PageUp => self.cursor.saturating_sub(room),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => self.n_rows().saturating_sub(1),
            _ => return Effect::Nothing,
        };
        let effect = self.settle();
        // The first place is followed, not who stands there.
        let row = (self.cursor > 0).then(|| self.row(self.cursor)).flatten();
        self.follows = row.map(|row| row.id().to_owned());
        effect
    }

    fn open(&mut self) -> Effect {
        let Some(row) = self.row(self.cursor).cloned() else {
            return Effect::Nothing;
        };
        self.follows = Some(row.id().to_owned());
        self.chosen = Some(Chosen { row, is_gone: false, timeline: None });
        self.mode = Mode::Detail(0);
        Effect::Ask
    }

    fn sort(&mut self, steps: usize) -> Effect {
        let at = Sort::ALL.iter().position(|&sort| sort == self.pick.sort).unwrap_or_default();
        let next = Sort::ALL.iter().cycle().nth(at + steps);
        self.pick.sort = next.copied().unwrap_or_default();
        self.restart()
    }

    /// Another list: from its beginning.
    fn restart(&mut self) -> Effect {
        (self.cursor, self.top, self.follows) = (0, 0, None);
        Effect::Ask
    }
}

/// Ctrl-Z: the shell is to have the terminal for a while.
pub(super) fn is_suspend(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('z')
}
