//! The colours of `keepwatch top`, and its title line.

use super::{feed::Origin, view::View};
use crate::{
    model::{
        judgement::{condition::Condition, verdict::Verdict},
        text::duration::tenths,
    },
    view::row::Row,
};
use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

/// The styles for this terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    /// Whether colours are shown.
    pub(super) colour: bool,
}

impl Theme {
    /// A colour where colours are shown, else what tells as much.
    const fn of(self, colour: Color, instead: Modifier) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new().add_modifier(instead) }
    }

    /// For numbers that are wrong.
    pub(super) const fn alarm(self) -> Style {
        self.of(Color::Red, Modifier::BOLD).add_modifier(Modifier::BOLD)
    }

    /// What is about to be.
    pub(super) const fn warning(self) -> Style {
        self.of(Color::Yellow, Modifier::BOLD)
    }

    /// What is as it should be.
    pub(super) const fn good(self) -> Style {
        self.of(Color::Green, Modifier::empty())
    }

    /// What goes unanswered.
    pub(super) const fn unanswered(self) -> Style {
        self.of(Color::Magenta, Modifier::UNDERLINED).add_modifier(Modifier::BOLD)
    }

    /// As a verdict looks.
    pub(super) const fn verdict(self, verdict: Verdict) -> Style {
        match verdict {
            Verdict::Off => self.alarm(),
            Verdict::Late => self.warning(),
            Verdict::Kept => self.of(Color::Cyan, Modifier::empty()),
            Verdict::Protected => self.good(),
            Verdict::Local => FAINT,
        }
    }

    /// As a connection looks.
    pub(super) fn row(self, row: &Row) -> Style {
        match row.connection.condition() {
            Condition::Stuck => self.alarm(),
            Condition::PeerSilent => self.unanswered(),
            _ => self.verdict(row.verdict()),
        }
    }
}

/// What one may overlook.
pub(super) const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);

/// The source of the rows, and how often they are read.
pub(super) fn title(view: &View, theme: Theme) -> Line<'static> {
    let source = match view.origin {
        Some(Origin::Agent(Some(pid))) => format!("as the agent sees it (process {pid})"),
        Some(Origin::Agent(None)) => "as the agent sees it".to_owned(),
        Some(Origin::Kernel) => "read from the kernel, without an agent".to_owned(),
        Some(Origin::Proc { is_part: false }) => {
            "read from /proc, without an agent and eBPF".to_owned()
        }
        Some(Origin::Proc { is_part: true }) => {
            "a part, for rights are missing, from /proc".to_owned()
        }
        None => String::new(),
    };
    let pause_ms = u64::try_from(view.pause.as_millis()).unwrap_or(u64::MAX);
    let mut spans = vec![
        Span::styled("keepwatch top", HEADING),
        Span::raw(format!("  {source}, every {}", tenths(pause_ms).replace(".0 s", " s"))),
    ];
    if view.is_paused() {
        spans.push(Span::styled("  PAUSED", theme.warning()));
    }
    Line::from(spans)
}
