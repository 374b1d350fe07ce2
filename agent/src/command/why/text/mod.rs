//! The answer for eyes, 80 columns wide. The first line is the answer; then a paragraph a case.

mod deaths;
mod facts;
mod joined;
mod last_word;
mod limit;
mod lost;
mod outages;
mod peer_timer;
mod phrase;
mod sentence;
mod what_if_words;

use self::joined::joined;
use self::phrase::{connections, of_processes, process};
use super::answer::{CallCount, Judged};
use crate::{
    advice::remedy::Advice,
    command::{socket_text::Style, table::wrapped, timestamp, why::source::LocalProgram},
    fix::known::ValueOrigin,
    model::{
        judgement::{
            death::Cause, learned::PeerClosesRow, learned_limit::Confidence, verdict::Verdict,
        },
        observed::setsockopt::SockOpt,
    },
    view::{
        connection::Connection,
        life::{Finding, Life},
    },
};
use std::fmt;

/// Columns of the narrowest terminal.
const WIDTH: usize = 80;
/// Columns of the labels at the left.
const GUTTER: usize = 9;
/// Cases that are printed in full; more are only counted.
const N_TOLD: usize = 8;

/// All that is shown.
pub(super) struct WhyText<'a> {
    pub(super) cases: &'a [Judged],
    /// What the word was taken for; none if there was no word.
    pub(super) peer: Option<&'a str>,
    /// The program of this host that all of them lead to.
    pub(super) behind: Option<&'a LocalProgram>,
    /// The time that was asked for, in words.
    pub(super) window: &'a str,
    pub(super) notes: &'a [String],
    /// Every case is printed in full.
    pub(super) in_full: bool,
    pub(super) now: f64,
    pub(super) style: Style,
}

impl fmt::Display for WhyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_told = |case: &&Judged| case.finding != Finding::Fine;
        let answer = self.answer();
        let colour = match self.cases.first().map(|case| case.finding) {
            Some(Finding::Unprotected | Finding::ProbablyLate) => "1;33",
            Some(finding) if finding.is_of_silence() => "1;31",
            Some(Finding::Fine) => "1;32",
            _ => "1",
        };
        for line in wrapped(&answer, WIDTH) {
            writeln!(f, "{}", self.style.paint(&line, colour))?;
        }
        let n_in_full = if self.in_full { usize::MAX } else { N_TOLD };
        for case in self.cases.iter().filter(is_told).take(n_in_full) {
            writeln!(f)?;
            self.case(f, case)?;
        }
        self.in_short(f, self.cases.iter().filter(is_told).skip(n_in_full))?;
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

impl WhyText<'_> {
    /// The first sentence, and how many findings more there are.
    fn answer(&self) -> String {
        let Some(worst) = self.cases.first() else {
            let with =
                self.peer.map_or_else(|| "of this host".to_owned(), |peer| format!("with {peer}"));
            return format!(
                "No connection {with}: none lives, and none is known to have died {}.",
                self.window
            );
        };
        if worst.finding == Finding::Fine {
            let n_live: usize = self.cases.iter().map(|case| case.n_live).sum();
            let ended = ended_well(self.cases);
            let unreplied = last_word::unreplied_in_words(self.cases, |_| true);
            let given_up = self.given_up_in_words(self.peer.is_none());
            let last_words = each_with_its_stop(unreplied.into_iter().chain(given_up));
            let first = format!("{}{}", self.stopped(), self.hangs_behind());
            let said = format!(
                "{first}{} {}: {}{ended}.{} {}{last_words}{}",
                if first.is_empty() {
                    "Nothing is wrong with"
                } else {
                    "Nothing else is wrong with"
                },
                self.peer.unwrap_or("this host"),
                live_and_well(self.cases, n_live),
                outages::beside(self.cases, self.now).unwrap_or_default(),
                self.unread(),
                self.may_be_behind()
            );
            return said.trim_end().to_owned();
        }
        let outages = outages::in_words(self.cases, self.now);
        // Of a probe that waits, the finding itself says it.
        let may_be_next = outages.is_empty()
            && worst.finding >= Finding::Dropped
            && worst.finding != Finding::ProbeUnanswered;
        let beside = outages::beside(self.cases, self.now).filter(|_| may_be_next);
        // Nor does what hung before come before what began then. What began in a time that is over is the answer to it.
        let is_over = |it: &outages::OutageText| it.is_over && !worst.asked.is_of_past;
        let is_later =
            |it: &outages::OutageText| is_over(it) || it.hung_before && !worst.hung_before;
        let (over, now): (Vec<_>, Vec<_>) = outages.into_iter().partition(is_later);
        let sentences = |outages: Vec<outages::OutageText>| {
            let all: Vec<String> =
                outages.into_iter().map(|outage| format!("{}. ", outage.sentence)).collect();
            all.concat()
        };
        // What hangs now comes before what is over, and before what may come.
        // An outage says itself how many it has taken.
        let hanging = if now.is_empty() {
            format!("{}{}", self.others_hanging(worst), self.others_opening(worst))
        } else {
            String::new()
        };
        let unusual = self.unreplied(worst, true);
        let usual = if unusual.is_empty() && self.peer.is_some() {
            self.unreplied(worst, false)
        } else {
            String::new()
        };
        let is_urgent = worst.finding < Finding::Dropped;
        let behind = self.hangs_behind();
        let (behind_first, behind_last) =
            if is_urgent { ("", behind.trim_end()) } else { (behind.as_str(), "") };
        let head = format!(
            "{behind_first}{}{}{}{unusual}{}.{}{} {usual}{}{}",
            if worst.hung_before { "What was wrong then had begun before. " } else { "" },
            sentences(now),
            self.stopped(),
            worst.sentence(),
            self.when_of_worst(worst).unwrap_or_default(),
            beside.unwrap_or_default(),
            self.unread(),
            sentences(over),
        );
        let said = format!("{}{hanging}{} {behind_last}", head.trim_end(), self.more(worst));
        said.trim_end().to_owned()
    }

    /// Who else hangs now, if the worst does.
    fn others_hanging(&self, worst: &Judged) -> String {
        let hangs = |case: &&Judged| {
            matches!(case.finding, Finding::Stuck | Finding::GivenUp | Finding::PeerSilent)
        };
        let n_hanging = |case: &Judged| case.case.of(case.finding).count();
        let others = || self.cases.iter().skip(1).filter(hangs);
        let n: usize = others().map(n_hanging).sum();
        let owners = others().flat_map(|case| case.case.of(case.finding)).filter_map(Life::owner);
        let whose = of_processes(&owners.map(|it| (it.process.clone(), it.pid)).collect());
        match n {
            _ if !hangs(&worst) => String::new(),
            0 => String::new(),
            1 => format!(" Another connection{whose} hangs, too."),
            n => format!(" {n} others{whose} hang, too."),
        }
    }

    /// What cannot be opened now, beside something worse: no number of data or of hanging ones says that.
    fn others_opening(&self, worst: &Judged) -> String {
        let is_opening = |case: &&Judged| case.finding == Finding::Opening;
        let other = self.cases.iter().find(is_opening).filter(|_| !is_opening(&worst));
        other.map_or_else(String::new, |case| format!(" {}.", case.sentence()))
    }

    /// How many findings there are besides the worst, and how many of them began before the time that was asked for.
    fn more(&self, worst: &Judged) -> String {
        let findings = || self.cases.iter().filter(|case| case.finding < Finding::Fine);
        let n_before = findings().filter(|case| case.hung_before && !worst.hung_before).count();
        let before = match (findings().count() - 1, n_before) {
            (_, 0) => String::new(),
            (1, _) => ", which began before that time".to_owned(),
            (n, n_before) if n == n_before => ", all of which began before that time".to_owned(),
            (_, 1) => ", 1 of which began before that time".to_owned(),
            (_, n_before) => format!(", {n_before} of which began before that time"),
        };
        match findings().count() - 1 {
            0 => String::new(),
            1 => format!(" One more finding below{before}."),
            n => format!(" {n} more findings below{before}."),
        }
    }

    /// The processes that are stopped now.
    fn stopped(&self) -> String {
        each_with_its_stop(last_word::stopped_in_words(self.cases).into_iter())
    }

    /// Where these are asked for: who does not read what has come. An idle client of a pool may leave a ticket or a goodbye unread.
    fn unread(&self) -> String {
        let is_past = self.cases.first().is_some_and(|worst| worst.asked.is_of_past);
        let is_asked = self.peer.is_some() && !is_past;
        each_with_its_stop(last_word::unread_in_words(self.cases).filter(|_| is_asked).into_iter())
    }

    /// What waits for an answer of a program whose host is there, or did until this host closed it, unless something worse hangs. A
    /// host has streams that nobody answers, and in some protocols the client speaks last: what is unusual comes first, and what is
    /// usual only if it is asked for.
    fn unreplied(&self, worst: &Judged, is_unusual: bool) -> String {
        if worst.finding < Finding::Dropped {
            return String::new();
        }
        let is_told =
            |it: &Connection| !worst.asked.is_of_past && (!is_unusual || last_word::is_unusual(it));
        let waits = last_word::unreplied_in_words(self.cases, is_told);
        let given_up = self.given_up_in_words(is_unusual);
        each_with_its_stop(waits.into_iter().chain(given_up))
    }

    /// Where all connections lead to a program of this host of whose own some hang: what these wait for may be behind it. It is
    /// trouble of now, and comes before what is over.
    fn hangs_behind(&self) -> String {
        let Some(LocalProgram { name, command, n_hanging }) = self.behind_asked() else {
            return String::new();
        };
        let get = match n_hanging {
            0 => return String::new(),
            1 => "1 gets",
            n => &format!("{n} get"),
        };
        format!(
            "What these connections wait for may be behind {name}, of whose own connections {get} no answer now: {command}. "
        )
    }

    /// The same where none of them hangs: it says where to look.
    fn may_be_behind(&self) -> String {
        let none_hangs = |it: &&LocalProgram| it.n_hanging == 0;
        self.behind_asked().filter(none_hangs).map_or_else(String::new, |it| {
            format!("What they wait for may be behind {}: {}", it.name, it.command)
        })
    }

    fn behind_asked(&self) -> Option<&LocalProgram> {
        self.behind.filter(|_| self.peer.is_some())
    }

    fn case(&self, f: &mut fmt::Formatter<'_>, case: &Judged) -> fmt::Result {
        writeln!(f, "{}", self.style.paint(&case.heading(), "1"))?;
        self.deaths(f, case)?;
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
        if let Some(clean_up) = &case.clean_up {
            self.part(f, "clock", &clean_up.meaning)?;
        }
        if case.finding == Finding::Opening {
            let text = "nothing to set here: does the peer run, and do firewalls on the way let it through?";
            self.part(f, "fix", text)?;
        }
        if case.did_its_work() && case.advice.is_empty() {
            let text = format!("nothing to set here: {}. {}", case.noticed_by(), case.look_at());
            self.part(f, "fix", &text)?;
        }
        let mut before: Option<&Advice> = None;
        for advice in &case.advice {
            self.part(f, joined(before, advice), &advice.because)?;
            before = Some(advice);
            for line in &advice.lines {
                writeln!(f, "    {}", self.style.paint(line, "32"))?;
            }
        }
        // The limit shows the others.
        if let Some(ValueOrigin::UserTimeout | ValueOrigin::Pause) = case.origin
            && let Some(origin) = &case.values_from
        {
            self.part(f, "values", &format!("as short as that because of {origin}"))?;
        }
        if let Some(text) = case.what_if_in_words() {
            self.part(f, "what if", &text)?;
        }
        Ok(())
    }

    /// Cases in one line each.
    fn in_short<'c>(
        &self,
        f: &mut fmt::Formatter<'_>,
        cases: impl Iterator<Item = &'c Judged>,
    ) -> fmt::Result {
        let mut cases = cases.peekable();
        if cases.peek().is_none() {
            return Ok(());
        }
        writeln!(f)?;
        for case in cases {
            self.part(f, "also", &self.case_in_short(case))?;
        }
        self.part(f, "", "in full: --all")
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

    /// By whose call what is set was set, in one line; nothing of what nobody set.
    fn set_by_whom(&self, case: &Judged) -> String {
        if !case.case.has_own_values() {
            return String::new();
        }
        let is_on = case.case.key.own.keepalive;
        // What turned keepalive on; where it is off, whatever else was set.
        let is_decisive = |option: SockOpt, value: Option<i32>, result: &str| {
            result == "ok" && (!is_on || option == SockOpt::Keepalive && value != Some(0))
        };
        let calls = case.calls.iter();
        let last = calls
            .filter(|it| is_decisive(it.option, it.value, &it.result))
            .max_by(|a, b| a.last_at.cmp(&b.last_at));
        let Some(CallCount { option, n, last_at, by, inherited, .. }) = last else {
            return case.set_by_nobody_seen();
        };
        let what = if is_on { String::new() } else { format!("{} was ", option.as_str()) };
        let on = if *inherited { " on its listening socket" } else { "" };
        let by = by.as_ref().map(|by| format!(" by {}", process(by))).unwrap_or_default();
        let times = if *n == 1 { String::new() } else { format!(", {n} times, last") };
        let is_seen =
            |life: &&Life| life.calls.iter().any(|it| is_decisive(it.option, it.value, &it.result));
        let lives = &case.case.lives;
        let n_unseen = lives.len() - lives.iter().filter(is_seen).count();
        let unseen = if n_unseen == 0 {
            String::new()
        } else {
            format!("; of {n_unseen} of {} no call was seen", lives.len())
        };
        format!("; {what}set{on}{by}{times} {}{unseen}", self.when(last_at))
    }

    fn call(&self, call: &CallCount) -> String {
        let CallCount { option, value, result, n, last_at, by, inherited } = call;
        let on = if *inherited { " on its listening socket" } else { "" };
        let value = value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let result = if result == "ok" { "ok".to_owned() } else { format!("refused: {result}") };
        let times = if *n == 1 { String::new() } else { format!(", {n} times, last") };
        let by = by.as_ref().map(|by| format!(" by {}", process(by))).unwrap_or_default();
        format!(
            "{} = {value}{}{on}: {result}{times} {}{by}",
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
        let n_told = match (self.in_full, is_all) {
            (true, _) => usize::MAX,
            (false, true) => N_TOLD,
            (false, false) => 2,
        };
        for case in fine.iter().take(n_told) {
            let is_habit =
                |it: &&PeerClosesRow| case.n_dead > 0 && it.confidence > Confidence::Guess;
            let habit = case.peer_closes.as_ref().filter(is_habit);
            let habit = habit.map(|closes| format!("; {}", closes.meaning)).unwrap_or_default();
            let (set, by) = (case.set(), self.set_by_whom(case));
            let mut words = vec![format!("{}: {set}{by}{}{habit}", case.heading(), case.kept())];
            words.extend(case.last_words().into_iter().chain(case.given_up_in_short()));
            let text = words.join("; ");
            self.part(f, "fine", &text)?;
        }
        let rest = fine.len().saturating_sub(n_told);
        if rest > 0 {
            let kinds = if rest == 1 { "kind" } else { "kinds" };
            self.part(f, "", &format!("and {rest} more {kinds} of connections: --all"))?;
        }
        Ok(())
    }

    /// A time, as short as it is clear here and now.
    fn when(&self, at: &str) -> String {
        let is_of_today =
            timestamp::unix_seconds(at).is_some_and(|at| self.now - at < 12.0 * 3600.0);
        timestamp::local(at, if is_of_today { "at %H:%M:%S" } else { "on %b %-d at %H:%M:%S" })
    }
}

/// These sentences, with a space behind each.
fn each_with_its_stop(sentences: impl Iterator<Item = String>) -> String {
    sentences.fold(String::new(), |before, sentence| before + &sentence + ". ")
}

/// The dead of which there is nothing to report. Of what was closed without a FIN the kernel shows no order.
fn ended_well(cases: &[Judged]) -> String {
    let n_dead: usize = cases.iter().map(|case| case.n_dead).sum();
    let causes = cases.iter().flat_map(|case| &case.causes);
    let n_reset =
        causes.filter(|count| count.cause == Cause::LocalReset).map(|count| count.n).sum();
    let in_order = Some(n_dead.saturating_sub(n_reset)).filter(|n| *n > 0);
    let in_order = in_order.map(|n| format!(", {n} ended in order"));
    let reset = Some(n_reset).filter(|n| *n > 0);
    let reset = reset.map(|n| format!(", {n} closed by this host without a FIN"));
    in_order.into_iter().chain(reset).collect()
}

/// The living by what is promised of them.
fn live_and_well(cases: &[Judged], n_live: usize) -> String {
    let live = || cases.iter().flat_map(|case| case.case.live());
    let of = |verdict| live().filter(|life| life.connection.verdict == Some(verdict)).count();
    let words = |verdict| match verdict {
        Verdict::Local => "to an address of this host",
        Verdict::Kept => "kept so far by something else than its own probes",
        verdict => verdict.as_str(),
    };
    let counts: Vec<(usize, &str)> = Verdict::ALL
        .into_iter()
        .map(|verdict| (of(verdict), words(verdict)))
        .filter(|(n, _)| *n > 0)
        .collect();
    match counts.as_slice() {
        [] => "no connection lives".to_owned(),
        [(n, what)] if *n == n_live => format!("{}, {what}", connections(n_live)),
        counts => {
            let parts: Vec<String> = counts.iter().map(|(n, what)| format!("{n} {what}")).collect();
            format!("{}: {}", connections(n_live), parts.join(", "))
        }
    }
}

#[cfg(test)]
mod headline_tests;
#[cfg(test)]
mod now_and_then_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod slow_probe_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;
