//! The answer for eyes, 80 columns wide. The first line is the answer; then a paragraph a case.

use super::judge::{CallCount, Judged};
use crate::{
    command::text::Style,
    model::{
        case::Peer,
        death::{Cause, Certainty},
        life::{Finding, Life},
        row::RowOwner,
        setting::From,
        verdict::Verdict,
        words::{duration, tenths},
    },
};
use std::{fmt, time::Duration};

/// Columns of the narrowest terminal.
const WIDTH: usize = 80;
/// Columns of the labels at the left.
const GUTTER: usize = 9;
/// Cases that are told in full; more are counted.
const N_TOLD: usize = 8;

/// All that is shown.
pub(super) struct Page<'a> {
    pub(super) cases: &'a [Judged],
    /// What the word was taken for.
    pub(super) peer: &'a str,
    pub(super) since: Duration,
    pub(super) notes: &'a [String],
    pub(super) now: f64,
    pub(super) style: Style,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_told = |case: &&Judged| case.finding != Finding::Fine;
        let answer = self.answer();
        let colour = match self.cases.first().map(|case| case.finding) {
            Some(Finding::Dropped | Finding::Dark) => "1;31",
            Some(Finding::Unprotected) => "1;33",
            Some(Finding::Fine) => "1;32",
            _ => "1",
        };
        for line in wrapped(&answer, WIDTH) {
            writeln!(f, "{}", self.style.paint(&line, colour))?;
        }
        for case in self.cases.iter().filter(is_told).take(N_TOLD) {
            writeln!(f)?;
            self.case(f, case)?;
        }
        let n_more = self.cases.iter().filter(is_told).count().saturating_sub(N_TOLD);
        if n_more > 0 {
            writeln!(f, "\n{n_more} more kinds of connections have findings: see --json")?;
        }
        self.fine(f)?;
        writeln!(f)?;
        for note in self.notes {
            for line in wrapped(note, WIDTH) {
                writeln!(f, "{}", self.style.paint(&line, "2"))?;
            }
        }
        Ok(())
    }
}

impl Page<'_> {
    /// The first sentence, and how many findings more there are.
    fn answer(&self) -> String {
        let Some(worst) = self.cases.first() else {
            return format!(
                "No connection with {}: none lives, and none is known to have died in the last {}.",
                self.peer,
                window(self.since)
            );
        };
        if worst.finding == Finding::Fine {
            let n_live: usize = self.cases.iter().map(|case| case.n_live).sum();
            let n_dead: usize = self.cases.iter().map(|case| case.n_dead).sum();
            let ended =
                if n_dead > 0 { format!(", {n_dead} ended in order") } else { String::new() };
            return format!(
                "Nothing is wrong with {}: {}{ended}.",
                self.peer,
                live_and_well(self.cases, n_live)
            );
        }
        let n_more = self.cases.iter().filter(|case| case.finding < Finding::Fine).count() - 1;
        let more = match n_more {
            0 => String::new(),
            1 => " One more finding below.".to_owned(),
            n => format!(" {n} more findings below."),
        };
        format!("{}.{more}", worst.sentence())
    }

    fn case(&self, f: &mut fmt::Formatter<'_>, case: &Judged) -> fmt::Result {
        writeln!(f, "{}", self.style.paint(&case.heading(), "1"))?;
        if case.n_dead > 0 {
            self.part(f, "died", &case.died())?;
            if let Some(end) = case.example.as_ref().and_then(|life| life.end.as_ref()) {
                let text = format!("{}: {}", self.when(&end.at), end.evidence);
                self.part(f, "", &text)?;
                self.part(f, "sure", &sure(case, end.cause, end.certainty))?;
            }
        }
        if case.n_live > 0 {
            self.part(f, "live", &case.live_in_words())?;
        }
        if !case.never_opened() {
            self.part(f, "set", &format!("{}{}", case.set(), case.set_by()))?;
        }
        for call in &case.calls {
            self.part(f, "", &self.call(call))?;
        }
        if let Some(text) = case.limit() {
            self.part(f, "limit", &text)?;
        }
        if case.did_its_work() && case.advice.is_empty() {
            let text = "nothing to set here: keepalive noticed it. Look at the peer and the path";
            self.part(f, "fix", text)?;
        }
        for (number, advice) in case.advice.iter().enumerate() {
            let label = if number == 0 { "fix" } else { "or" };
            self.part(f, label, &advice.because)?;
            for line in &advice.lines {
                writeln!(f, "    {}", self.style.paint(line, "32"))?;
            }
        }
        if let Some(text) = case.what_if_in_words() {
            self.part(f, "what if", &text)?;
        }
        Ok(())
    }

    /// One labelled part, wrapped beside its label.
    fn part(&self, f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
        for (number, line) in wrapped(text, WIDTH - GUTTER).iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let padded = format!("{label:<GUTTER$}");
            writeln!(f, "{}{line}", self.style.paint(&padded, "2"))?;
        }
        Ok(())
    }

    fn call(&self, call: &CallCount) -> String {
        let CallCount { option, value, result, n, last_at, by } = call;
        let value = value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let result = if result == "ok" { "ok".to_owned() } else { format!("refused: {result}") };
        let times = if *n == 1 { String::new() } else { format!(", {n} times, last") };
        let by = by.as_ref().map(|by| format!(" by {}", process(by))).unwrap_or_default();
        format!(
            "{} = {value}{}: {result}{times} {}{by}",
            option.as_str(),
            option.unit(),
            self.when(last_at)
        )
    }

    /// What is fine, in one line.
    fn fine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fine: Vec<_> = self.cases.iter().filter(|case| case.finding == Finding::Fine).collect();
        if fine.is_empty() {
            return Ok(());
        }
        let is_all = fine.len() == self.cases.len();
        writeln!(f)?;
        for case in fine.iter().take(if is_all { N_TOLD } else { 2 }) {
            self.part(f, "fine", &format!("{}: {}", case.heading(), case.set()))?;
        }
        let rest = fine.len().saturating_sub(if is_all { N_TOLD } else { 2 });
        if rest > 0 {
            self.part(f, "", &format!("and {rest} more kinds of connections"))?;
        }
        Ok(())
    }

    /// A time, as short as it is clear here and now.
    fn when(&self, at: &str) -> String {
        let Ok(at) = at.parse::<jiff::Timestamp>() else {
            return at.to_owned();
        };
        let age = self.now - at.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64();
        let form = if age < 12.0 * 3600.0 { "at %H:%M:%S" } else { "on %b %-d at %H:%M:%S" };
        at.to_zoned(jiff::tz::TimeZone::system()).strftime(form).to_string()
    }
}

/// The window of time: hours up to two days.
fn window(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 3600 == 0 && seconds <= 48 * 3600 => format!("{} h", seconds / 3600),
        seconds => duration(seconds),
    }
}

fn live_and_well(cases: &[Judged], n_live: usize) -> String {
    let all_local = cases
        .iter()
        .flat_map(|case| case.case.live())
        .all(|life| life.connection.verdict == Some(Verdict::Local));
    match n_live {
        0 => "no connection lives".to_owned(),
        n if all_local => format!("{} to this host itself", connections(n)),
        n => format!("{}, protected", connections(n)),
    }
}

impl Judged {
    /// What happened to so many, to whom, and why, in one sentence.
    fn sentence(&self) -> String {
        let n = self.case.of(self.finding).count();
        let what = connections(n);
        let whose = self.whose();
        let peer = self.peer_phrase();
        let (was, it) = if n == 1 { ("was", "it") } else { ("were", "them") };
        match self.finding {
            Finding::Dropped => {
                format!("{what}{whose} {peer} died of silence: {}", self.why_silent(it))
            }
            Finding::Dark => {
                let noticed = self
                    .case
                    .of(Finding::Dark)
                    .filter_map(|life| Some(life.end.as_ref()?.silent_seconds))
                    .fold(0.0, f64::max);
                format!(
                    "{what}{whose} {peer} got no answer any more, noticed after {}: the peer or \
                     the path went dark",
                    time(noticed)
                )
            }
            Finding::Unprotected if self.n_over() > 0 => format!(
                "{}{whose} {peer} {} quiet for longer than {}, so probably dropped: {}",
                connections(self.n_over()),
                if self.n_over() == 1 { "is" } else { "are" },
                self.limit_words(),
                self.why_silent(it)
            ),
            Finding::Unprotected => format!(
                "{what}{whose} {peer} will be dropped once quiet for {}: {}",
                self.limit_words(),
                self.why_silent(it)
            ),
            Finding::ClosedAlthoughProbed => format!(
                "{what}{whose} {peer} {was} closed by the peer while probes were answered: an idle \
                 timeout of a proxy or server, which TCP keepalive does not reach"
            ),
            Finding::Failed => self.failed(&what, &whose, &peer),
            Finding::Unseen => format!("{what}{whose} {peer} ended, and nobody saw how"),
            Finding::Fine => String::new(),
        }
    }

    fn failed(&self, what: &str, whose: &str, peer: &str) -> String {
        let example = self.example.as_ref().and_then(|life| life.end.as_ref());
        let errno = example.and_then(|end| end.errno.clone());
        match (example.map(|end| end.cause), errno.as_deref()) {
            (Some(Cause::ConnectFailed), Some("ECONNREFUSED")) => {
                format!("{} refuses: {what}{whose} could not be opened (ECONNREFUSED)", self.peer)
            }
            (Some(Cause::ConnectFailed), Some("ETIMEDOUT")) => {
                format!(
                    "{} does not answer: {what}{whose} could not be opened (ETIMEDOUT)",
                    self.peer
                )
            }
            (Some(Cause::ConnectFailed), errno) => format!(
                "{what}{whose} {peer} could not be opened ({})",
                errno.unwrap_or("given up")
            ),
            (Some(Cause::Unreachable), errno) => format!(
                "{} cannot be reached: {what}{whose} ended with {}",
                self.peer,
                errno.unwrap_or("an error")
            ),
            _ => format!("{} reset {what}{whose}", self.peer),
        }
    }

    /// Why silence is deadly for these.
    fn why_silent(&self, it: &str) -> String {
        let keepalive = self.case.key.own.keepalive;
        let refused = self.calls.iter().find(|call| call.result != "ok");
        let idle = self.example.as_ref().map(|life| u64::from(life.connection.idle.seconds));
        let idle = idle.map(duration).unwrap_or_default();
        match (keepalive, refused, self.nobody_ever_set) {
            (false, Some(call), _) => format!(
                "keepalive is off, and {} was refused with {}",
                call.option.as_str(),
                call.result
            ),
            (false, None, Some(true)) => {
                format!("keepalive is off, and nobody ever set it on {it}")
            }
            (false, None, _) => "keepalive is off".to_owned(),
            (true, Some(call), _) if self.is_late() => format!(
                "keepalive is on, but {} was refused with {}, so the first probe comes after {idle}",
                call.option.as_str(),
                call.result
            ),
            (true, ..) if self.is_late() => {
                format!("keepalive is on, but the first probe comes only after {idle}")
            }
            (true, ..) => format!(
                "the path or the peer forgot {it} before the first probe, which comes after {idle}"
            ),
        }
    }

    fn whose(&self) -> String {
        self.process.as_ref().map(|name| format!(" of {name}")).unwrap_or_default()
    }

    fn peer_phrase(&self) -> String {
        match self.case.key.peer {
            Peer::Server(addr) => format!("to {addr}"),
            Peer::ClientsOf(port) => {
                let peers = self.case.peers();
                match (peers.len(), peers.first()) {
                    (1, Some(peer)) => format!("from {peer} to port {port}"),
                    (n, _) => format!("from {n} clients of port {port}"),
                }
            }
        }
    }

    /// `python3[812] web.service -> 10.0.0.9:5432   7 dead, 3 live`
    fn heading(&self) -> String {
        let name = self.process.as_deref().unwrap_or("?");
        let pids = match self.pids.as_slice() {
            [] => String::new(),
            [pid] => format!("[{pid}]"),
            [first, .., last] => format!("[{first}..{last}]"),
        };
        let part_of = self.part_of.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let arrow = match self.case.key.peer {
            Peer::Server(addr) => format!("-> {addr}"),
            Peer::ClientsOf(port) => match (self.case.peers().len(), self.case.peers().first()) {
                (1, Some(peer)) => format!("port {port} <- {peer}"),
                (n, _) => format!("port {port} <- {n} clients"),
            },
        };
        let counts: Vec<String> = [(self.n_dead, "dead"), (self.n_live, "live")]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        format!("{name}{pids}{part_of} {arrow}  {}", counts.join(", "))
    }

    /// How many of what, the worst first, and when.
    fn died(&self) -> String {
        let counts: Vec<String> = self
            .causes
            .iter()
            .map(|count| {
                format!("{} {} ({})", count.n, cause_in_words(count.cause), count.cause.as_str())
            })
            .collect();
        counts.join(", ")
    }

    /// Unprotected ones that were quiet for longer than the path is taken to keep them.
    fn n_over(&self) -> usize {
        let is_over = |life: &&Life| {
            life.connection.quiet_seconds > self.known_limit()
                && matches!(life.connection.verdict, Some(Verdict::Off | Verdict::Late))
        };
        self.case.live().filter(is_over).count()
    }

    fn live_in_words(&self) -> String {
        let mut words = Vec::new();
        let live: Vec<&Life> = self.case.live().collect();
        let quietest = live.iter().map(|life| life.connection.quiet_seconds).fold(0.0, f64::max);
        words.push(format!("quiet for {}{}", up_to(live.len()), time(quietest)));
        let n_probing = live.iter().filter(|life| life.connection.probes_unanswered > 0).count();
        if n_probing > 0 {
            words.push(format!("{n_probing} with unanswered probes"));
        }
        let n_in_flight = live.iter().filter(|life| life.connection.in_flight).count();
        if n_in_flight > 0 {
            words.push(format!("{n_in_flight} with data in flight"));
        }
        let n_over = self.n_over();
        if n_over > 0 {
            let those = if live.len() == 1 { String::new() } else { format!("{n_over} ") };
            words.push(format!("{those}longer than the limit: probably dropped already"));
        } else if self.case.is_unprotected() && quietest > 0.0 {
            let rest = time(self.known_limit() - quietest);
            words.push(format!("dropped in {rest} if it stays so"));
        }
        words.join(", ")
    }

    /// What is set.
    fn set(&self) -> String {
        let Some(life) = &self.example else {
            return String::new();
        };
        let connection = &life.connection;
        let mut text = if connection.keepalive {
            let from = [
                ("idle", connection.idle.from),
                ("interval", connection.interval.from),
                ("count", connection.count.from),
            ];
            let of_system: Vec<_> = from
                .into_iter()
                .filter_map(|(name, from)| (from == From::Netns).then_some(name))
                .collect();
            let of_system = match of_system.len() {
                0 => String::new(),
                3 => " (the system's values)".to_owned(),
                _ => format!(" ({}: the system's)", of_system.join(", ")),
            };
            format!(
                "keepalive on: first probe after {}, then {} x {}{of_system}",
                duration(connection.idle.seconds),
                connection.count.probes,
                duration(connection.interval.seconds),
            )
        } else {
            "keepalive off".to_owned()
        };
        if connection.user_timeout_ms > 0 {
            text += &format!(", user timeout {}", tenths(connection.user_timeout_ms));
        }
        if !self.changed.is_empty() {
            let options: Vec<_> = self.changed.iter().map(|option| option.as_str()).collect();
            text += &format!(
                "; {} changed without a setsockopt call (io_uring, BPF, a 32-bit program)",
                options.join(", ")
            );
        }
        text
    }

    /// By whom, as far as that was seen.
    fn set_by(&self) -> &'static str {
        match (self.nobody_ever_set, self.calls.is_empty()) {
            (Some(true), _) => "; nobody ever called setsockopt for it, seen from the beginning",
            (_, false) => "; the calls that were seen:",
            (_, true) if self.case.key.own.keepalive => "; who set it was not seen",
            (_, true) => "; whether somebody tried was not seen",
        }
    }

    /// How long the path keeps a quiet connection, and how that is known.
    fn limit(&self) -> Option<String> {
        if !self.finding.is_of_silence() || self.did_its_work() {
            return None;
        }
        let connection = &self.example.as_ref()?.connection;
        if let Some(learned) = &self.learned_limit {
            return Some(learned.meaning.clone());
        }
        let configured =
            format!("{} ({})", duration(connection.idle_limit_seconds), connection.idle_limit_from);
        let killed = self.quiet_seconds.filter(|_| self.finding == Finding::Dropped);
        Some(match killed {
            Some((least, _)) if least < f64::from(connection.idle_limit_seconds) => format!(
                "at most {} by these deaths, though taken for {configured}: set --path",
                time(least)
            ),
            _ => format!("taken for {configured}"),
        })
    }

    /// Keepalive was early enough, and noticed what it could not prevent.
    fn did_its_work(&self) -> bool {
        self.finding == Finding::Dark && !self.case.is_unprotected()
    }

    /// None of them came to be: nothing that was set mattered.
    fn never_opened(&self) -> bool {
        self.n_live == 0 && self.causes.iter().all(|count| count.cause == Cause::ConnectFailed)
    }

    fn known_limit(&self) -> f64 {
        match &self.learned_limit {
            Some(learned) => f64::from(learned.seconds),
            None => self
                .example
                .as_ref()
                .map_or(f64::INFINITY, |life| f64::from(life.connection.idle_limit_seconds)),
        }
    }

    fn limit_words(&self) -> String {
        time(self.known_limit())
    }

    fn what_if_in_words(&self) -> Option<String> {
        let what_if = &self.what_if;
        let is_moot = what_if.unchanged == what_if.deaths && self.did_its_work();
        if what_if.deaths == 0 || !self.finding.is_of_silence() || is_moot {
            return None;
        }
        let proposal = self.proposal;
        let mut words = Vec::new();
        let of = what_if.deaths;
        if what_if.prevented > 0 {
            let survived = self.learned_limit.as_ref().and_then(|it| it.longest_survived_seconds);
            let unless = if survived.is_some_and(|survived| survived >= f64::from(proposal.idle)) {
                String::new()
            } else {
                format!(", if the path keeps them for {} s", proposal.idle)
            };
            words.push(format!("{} of {of} deaths prevented{unless}", what_if.prevented));
        }
        if what_if.noticed_sooner > 0 {
            words.push(format!(
                "{} of {of} noticed after {}",
                what_if.noticed_sooner,
                duration(proposal.detection_seconds())
            ));
        }
        if what_if.needs_user_timeout > 0 {
            words.push(format!(
                "{} of {of} not helped, data was in flight: TCP_USER_TIMEOUT would be",
                what_if.needs_user_timeout
            ));
        }
        if what_if.unchanged > 0 {
            words.push(format!("{} of {of} would have died the same way", what_if.unchanged));
        }
        if what_if.unknown > 0 {
            words.push(format!("{} of {of} nobody can tell", what_if.unknown));
        }
        Some(format!(
            "idle {} s, interval {} s, {} probes: {}",
            proposal.idle,
            proposal.interval,
            proposal.count,
            words.join(", ")
        ))
    }
}

/// How sure a cause is, and what looks alike.
fn sure(case: &Judged, cause: Cause, certainty: Certainty) -> String {
    match (cause, certainty) {
        (Cause::IdleDrop, _) => {
            let quiet = case.quiet_seconds.map_or_else(String::new, |(least, most)| {
                if time(least) == time(most) {
                    format!(" (quiet for {})", time(least))
                } else {
                    format!(" (quiet for {} to {})", time(least), time(most))
                }
            });
            let n_inferred: usize = case.causes.iter().map(|count| count.n_inferred).sum();
            let repeated = if n_inferred > 1 {
                format!("{n_inferred} times the same makes a middlebox likely")
            } else {
                "a peer that vanished meanwhile looks the same".to_owned()
            };
            format!("inferred: the first data after silence{quiet}; {repeated}")
        }
        (_, Certainty::Inferred) => "inferred".to_owned(),
        (Cause::KeepaliveReset, _) => {
            "the kernel said so; a restarted peer and a path that forgot look the same".to_owned()
        }
        (Cause::KeepaliveTimeout, _) => {
            "the kernel said so; a dead peer and a path that forgot in silence look the same"
                .to_owned()
        }
        _ => "the kernel said so".to_owned(),
    }
}

const fn cause_in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::KeepaliveTimeout => "whose probes went unanswered",
        Cause::KeepaliveReset => "whose probe was answered by a reset",
        Cause::IdleDrop => "dropped while quiet",
        Cause::UserTimeout => "by user timeout",
        Cause::RetransmitTimeout => "whose data was never acknowledged",
        Cause::PeerReset => "reset by the peer",
        Cause::Unreachable => "unreachable",
        Cause::ConnectFailed => "could not connect",
        Cause::PeerClosed => "closed by the peer",
        Cause::LocalClosed => "closed by this host",
        Cause::LocalReset => "reset by this host",
        Cause::Unknown => "unseen",
    }
}

fn process(owner: &RowOwner) -> String {
    format!("{}[{}]", owner.process, owner.pid)
}

fn connections(n: usize) -> String {
    if n == 1 { "1 connection".to_owned() } else { format!("{n} connections") }
}

const fn up_to(n: usize) -> &'static str {
    if n == 1 { "" } else { "up to " }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of at least 0, and a cast of a float saturates"
)]
fn time(seconds: f64) -> String {
    tenths((seconds.max(0.0) * 1000.0).round() as u64)
}

/// Lines of words, none longer than `width` unless one word is. A number stays with its unit.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let is_unit = |word: &&str| {
        matches!(word.trim_end_matches([',', '.', ':', ';', ')']), "s" | "ms" | "min" | "h" | "d")
    };
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut word = word.to_owned();
        while let Some(unit) = words.next_if(is_unit) {
            word = format!("{word} {unit}");
        }
        let len = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && len > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::{super::judge::judge, *};
    use crate::model::{
        call::SockOpt,
        death::Ending,
        life::{
            CallSeen,
            tests_support::{GAVE_UP, RESET, app, dead, live},
        },
    };

    fn page(lives: Vec<Life>) -> String {
        let cases = judge(lives, &[], None);
        let page = Page {
            cases: &cases,
            peer: "172.16.0.15",
            since: Duration::from_hours(24),
            notes: &["from the agent".to_owned()],
            now: 0.0,
            style: Style { colour: false },
        };
        let text = page.to_string();
        let first = text.lines().next().unwrap().chars().count();
        assert!(first <= WIDTH && first > 10, "{text}");
        text
    }

    #[test]
    fn the_first_line_is_the_answer() {
        let dropped = (0..7).map(|id| dead(&app(id, None, 400_000), RESET)).collect();
        let refused = Ending { errno: 111, unacked: false, sent_ms: None, ..RESET };
        let mut connecting = dead(&app(1, None, 0), refused);
        connecting.end.as_mut().unwrap().cause = Cause::ConnectFailed;
        connecting.end.as_mut().unwrap().errno = Some("ECONNREFUSED".to_owned());
        let cases: [(Vec<Life>, &str); 6] = [
            (
                dropped,
                "7 connections of app to 172.16.0.15:2717 died of silence: keepalive is off, and nobody \
                 ever set it on them.",
            ),
            (
                vec![live(&app(1, Some(7200), 100_000))],
                "1 connection of app to 172.16.0.15:2717 will be dropped once quiet for 5 min 50 s: \
                 keepalive is on, but the first probe comes only after 2 h.",
            ),
            (
                vec![dead(&app(1, Some(60), 90_000), GAVE_UP)],
                "1 connection of app to 172.16.0.15:2717 got no answer any more, noticed after \
                 1 min 30 s: the peer or the path went dark.",
            ),
            (
                vec![connecting],
                "172.16.0.15:2717 refuses: 1 connection of app could not be opened (ECONNREFUSED).",
            ),
            (
                vec![live(&app(1, Some(60), 0))],
                "Nothing is wrong with 172.16.0.15: 1 connection, protected.",
            ),
            (
                Vec::new(),
                "No connection with 172.16.0.15: none lives, and none is known to have died in the last \
                 24 h.",
            ),
        ];
        for (lives, answer) in cases {
            let text = page(lives).replace('\n', " ");
            assert!(text.starts_with(answer), "{answer}\n{text}");
        }
    }

    #[test]
    fn five_hundred_alike_are_one_paragraph_that_fits_the_terminal() {
        let mut lives: Vec<_> = (0..500).map(|id| dead(&app(id, None, 400_000), RESET)).collect();
        lives.push(live(&app(600, None, 349_000)));
        let text = page(lives);
        assert!(text.lines().count() < 24, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("500 dropped while quiet (idle_drop)"), "{text}");
        assert!(text.contains("500 of 500 deaths prevented"), "{text}");
        assert!(text.contains("dropped in 1.0 s if it stays so"), "{text}");
        assert!(text.contains("SO_KEEPALIVE, &(int){1}"), "{text}");
    }

    #[test]
    fn who_called_what_when_and_what_was_refused_is_told() {
        let mut life = live(&app(1, Some(0), 0));
        life.is_whole = true;
        for (option, value, result) in [(SockOpt::Keepalive, 1, "ok"), (SockOpt::Idle, 0, "EINVAL")]
        {
            life.calls.push(CallSeen {
                at: "1970-01-01T00:00:00Z".to_owned(),
                option,
                value: Some(value),
                result: result.to_owned(),
                by: life.owner.clone(),
            });
        }
        let text = page(vec![life]);
        assert!(text.contains("TCP_KEEPIDLE was refused with EINVAL"), "{text}");
        assert!(text.contains("TCP_KEEPIDLE = 0 s: refused: EINVAL at "), "{text}");
        assert!(text.contains("by app[812]") && text.contains("SO_KEEPALIVE = 1: ok"), "{text}");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("toolong x", 4), ["toolong", "x"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("once 5 min 50 s.", 12), ["once 5 min", "50 s."]);
    }
}
