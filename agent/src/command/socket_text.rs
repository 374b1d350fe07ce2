//! Connections for eyes: short, coloured only on a terminal.

use crate::{
    model::{
        judgement::{condition::Condition, verdict::Verdict},
        observed::socket::{DirectionFrom, State},
        text::duration::duration,
    },
    view::{
        connection::{Connection, KeepaliveSettings},
        row::Row,
    },
};

/// A time as one would type it in a setting: `2h`, `10m`, `75s`.
pub(super) fn as_typed(seconds: u32) -> String {
    match seconds {
        0 => "0s".to_owned(),
        hours if hours.is_multiple_of(3600) => format!("{}h", hours / 3600),
        minutes if minutes.is_multiple_of(60) => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A time in few columns: `5m50s`, `2h11m`, `3d4h`.
pub(super) fn short(seconds: u64) -> String {
    duration(seconds).replace(" min", "m").replace(' ', "")
}

/// Milliseconds as one would type them.
pub(super) fn ms_as_typed(ms: u32) -> String {
    if ms.is_multiple_of(1000) { as_typed(ms / 1000) } else { format!("{ms}ms") }
}

/// The room on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// How a table may look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Whether colours are shown.
    pub(super) colour: bool,
}

impl Style {
    pub(super) fn paint(self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) const fn of_verdict(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Off => "1;31",
            Verdict::Late => "33",
            Verdict::Kept => "36",
            Verdict::Protected => "32",
            Verdict::Local => "2",
        }
    }
}

/// With a question mark where it is inferred.
pub(super) fn direction(row: &Row) -> String {
    match row.direction_from {
        DirectionFrom::Seen => row.connection.direction().as_str().to_owned(),
        DirectionFrom::Inferred => format!("{}?", row.connection.direction().as_str()),
    }
}

/// `2h +9x75s`: the first probe after 2 hours, then 9 probes in all, 75 s apart.
pub(super) fn keepalive(connection: &Connection) -> String {
    let Connection { settings: of, in_flight, probes_unanswered, .. } = connection;
    let mut text = settings(of);
    if *in_flight {
        let what = match connection.state {
            State::SynSent => "SYN",
            _ if connection.fin_only => "FIN",
            _ => "data",
        };
        text.push_str(&format!(" ({what} in flight)"));
    } else if connection.condition() == Condition::PeerSilent {
        text.push_str(&format!(" ({probes_unanswered} unanswered)"));
    }
    text
}

/// The keepalive settings, short: `2h +9x75s ut 30s`.
pub(super) fn settings(settings: &KeepaliveSettings) -> String {
    let KeepaliveSettings { idle, interval, count, user_timeout_ms, .. } = *settings;
    let mut text = if settings.keepalive {
        format!("{} +{}x{}", as_typed(idle.seconds), count.probes, as_typed(interval.seconds))
    } else {
        "off".to_owned()
    };
    if user_timeout_ms > 0 {
        text.push_str(&format!(" ut {}", ms_as_typed(user_timeout_ms)));
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded time of at least 0"
)]
pub(super) const fn whole(seconds: f64) -> u64 {
    seconds.max(0.0).floor() as u64
}

/// What the owner is part of, and the processes.
pub(super) fn owners(row: &Row) -> String {
    const SHOWN: usize = 2;
    let mut names: Vec<String> =
        row.owners.iter().map(|owner| format!("{}[{}]", owner.process, owner.pid)).collect();
    names.dedup();
    let n_more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut words: Vec<String> = row.connection.part_of.words().into_iter().chain(names).collect();
    if n_more > 0 {
        words.push(format!("+{n_more}"));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::{fitted, width};
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::socket::{Comm, Owner, Socket, tests_support::socket},
    };

    #[test]
    fn an_owner_is_shown_with_what_it_is_part_of() {
        let mut row = {
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let around = Surroundings::new(limits, 250);
            let owner = Owner { pid: 812, fd: Some(31), comm: Comm::default() };
            Row::new(&socket(), [&owner], None, &around, socket().at)
        };
        row.connection.part_of.unit = Some("web.service".to_owned());
        assert_eq!(owners(&row), "web.service [812]");
        row.connection.part_of.container = Some("server".to_owned());
        assert_eq!(owners(&row), "server [812]");
        row.connection.part_of.namespace = Some("shop".to_owned());
        row.connection.part_of.pod = Some("web-0".to_owned());
        assert_eq!(owners(&row), "shop/web-0/server [812]");
    }

    #[test]
    fn a_table_with_wide_and_hostile_names_is_aligned() {
        let named = |name: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name);
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let around = Surroundings::new(limits, 250);
            let owner = Owner { pid: 1, fd: None, comm: Comm::new(bytes) };
            Row::new(&socket(), [&owner], None, &around, socket().at)
        };
        for name in ["数据库".as_bytes(), b"\x1b[31m\n", "e\u{301}\u{301}".as_bytes(), b"plain"]
        {
            let text = fitted(&owners(&named(name)), 12);
            assert_eq!(width(&text), 12, "{text:?}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_syn_and_a_fin_in_flight_are_no_data() {
        let of = |state, fin_only| {
            let socket = Socket { state, fin_only, in_flight: true, ..socket() };
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let around = Surroundings::new(limits, 250);
            keepalive(&Row::new(&socket, [], None, &around, socket.at).connection)
        };
        assert_eq!(of(State::SynSent, false), "off (SYN in flight)");
        assert_eq!(of(State::LastAck, true), "off (FIN in flight)");
        assert_eq!(of(State::LastAck, false), "off (data in flight)");
        assert_eq!(of(State::Established, false), "off (data in flight)");
    }

    #[test]
    fn times_of_settings_are_as_one_would_type_them() {
        let typed = [0, 45, 60, 75, 600, 7200, 86_400].map(as_typed);
        assert_eq!(typed, ["0s", "45s", "1m", "75s", "10m", "2h", "24h"]);
        assert_eq!(ms_as_typed(30_000), "30s");
        assert_eq!(ms_as_typed(1_500), "1500ms");
    }
}
