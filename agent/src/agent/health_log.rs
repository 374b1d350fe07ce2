//! What an operator must know of the agent: lines in its log, each kind at once and then as a sum
//! (docs/LOGS.md says what to do about each).

use super::watch::WALK_SHARE;
use crate::{
    kernel::{
        hooks::{self, Error},
        proc_source,
        sandbox::Sandbox,
    },
    log::{
        in_full,
        pace::{Paced, Spell, Turn},
    },
    model::{
        observed::socket::Time,
        table::agent_health::{AgentHealth, HostView},
        text::duration::seconds,
    },
    store::{self, Loss},
};
use std::time::Duration;
use tracing::{debug, info, warn};

/// Says of a hook whether it is where it should be.
pub(super) fn hook(status: &hooks::SignalStatus) {
    let hooks::SignalStatus { signal: is_of, mechanism, failure, passed_over } = status;
    let (signal, blind_to) = (is_of.as_str(), is_of.blind_without());
    match (failure, passed_over.first()) {
        (Some(failure), _) => {
            let cause = in_full(failure);
            if is_of.is_needed() {
                warn!(signal, blind_to, cause, "a hook is missing");
            } else {
                info!(blind_to, cause, "the files of processes cannot be read");
            }
        }
        (None, Some(better)) => {
            let cause = match better {
                // The hint of the error is for hooks that are missing.
                Error::Refused { attempt } => format!("the kernel refuses (EPERM) to {attempt}"),
                better => in_full(better),
            };
            info!(
                signal,
                mechanism,
                cause,
                "a hook has its second-best place: nothing is missed, but it costs more"
            );
        }
        (None, None) => debug!(signal, mechanism, "a hook is attached"),
    }
}

/// Says that there are no hooks, and why if nobody wanted that.
pub(super) fn without_ebpf(refused: Option<&str>) {
    let blind_to = proc_source::NEVER_SEEN_BY_AGENT;
    if let Some(cause) = refused {
        warn!(
            blind_to,
            cause,
            advice = "give it what it needs for eBPF, or `--source proc` if this is meant",
            "eBPF is refused: connections are read from /proc"
        );
    } else {
        info!(blind_to, "connections are read from /proc, without eBPF");
    }
}

/// Logs what of the host's processes is in sight, if it is not all.
fn processes(view: HostView) {
    match view {
        HostView::Whole => {}
        HostView::OtherPidNamespace => warn!(
            blind_to = "sockets of processes outside of this container",
            advice = "start it with the host's pid namespace (Kubernetes: hostPID: true)",
            "only processes of this pid namespace are seen"
        ),
        HostView::NoProc => warn!(
            blind_to = "units, containers and pods, and addresses of this host",
            advice = "mount one: mount -t proc proc /proc",
            "there is no /proc"
        ),
    }
}

/// Says which part of the sandbox is not in force. What an old landlock cannot refuse, seccomp does.
pub(super) fn sandbox(sandbox: &Sandbox) {
    let absent = sandbox.parts().into_iter().filter(|(_, part)| !part.in_force);
    for (mechanism, part) in absent {
        let cause = part.missing.as_deref().unwrap_or_default();
        info!(mechanism, cause, "a part of the sandbox is not in force");
    }
}

/// What the log reported so far.
#[derive(Debug)]
pub(super) struct Account {
    interval_ms: u64,
    host_view: HostView,
    /// Of events, by stage.
    events: [Paced; 4],
    /// Of the history, by reason.
    records: [Paced; REASONS.len()],
    walks: Spell,
    /// Unix time minus monotonic time, nanoseconds, when it was looked at last.
    wall_offset_ns: Option<i64>,
}

/// Less is what a clock is corrected by while it runs.
const CLOCK_SLACK_NS: u64 = 2_000_000_000;

/// Not what is over its budget or its size: that is meant to be left out on a busy host.
const REASONS: [Loss; 3] = [Loss::Queue, Loss::Disk, Loss::Invalid];

impl Account {
    /// Of an agent that wants to walk this often.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            host_view: HostView::Whole,
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            events: Default::default(),
            records: Default::default(),
            walks: Spell::default(),
            wall_offset_ns: None,
        }
    }

    /// Says that the wall clock jumped. `offset_ns`: Unix time minus monotonic time.
    pub(super) fn look_at_clock(&mut self, offset_ns: i64) {
        let before = self.wall_offset_ns.replace(offset_ns).unwrap_or(offset_ns);
        let jump_ns = offset_ns.saturating_sub(before);
        if jump_ns.unsigned_abs() >= CLOCK_SLACK_NS {
            let by_seconds = jump_ns / 1_000_000_000;
            warn!(by_seconds, "the wall clock was set, or this host slept");
        }
    }

    /// Says what is new.
    pub(super) fn look(&mut self, health: &AgentHealth, history: &store::Health, now: Time) {
        if health.host_view != self.host_view {
            self.host_view = health.host_view;
            processes(self.host_view);
            if self.host_view == HostView::Whole {
                info!("the processes of the whole host are seen again");
            }
        }
        self.losses(health, history, |paced, total| paced.see(total, now));
        let due_ms = health.walk_cpu_ms.saturating_mul(WALK_SHARE);
        match self.walks.see(due_ms > self.interval_ms, now) {
            Some(Turn::Begins) => warn!(
                cpu_seconds = seconds(health.walk_cpu_ms),
                every_seconds = seconds(due_ms),
                interval_seconds = seconds(self.interval_ms),
                "snapshots come less often than --interval says: one takes too long"
            ),
            Some(Turn::Ends) => info!(
                cpu_seconds = seconds(health.walk_cpu_ms),
                interval_seconds = seconds(self.interval_ms),
                "snapshots come as often as --interval says again"
            ),
            None => {}
        }
    }

    /// Logs what was not reported yet, and the end of what still lasts.
    pub(super) fn finish(&mut self, health: &AgentHealth, history: &store::Health, now: Time) {
        self.losses(health, history, |paced, total| {
            paced.see(total, now).or_else(|| paced.rest(now))
        });
        let sum = |paced: &[Paced]| paced.iter().map(Paced::total).sum::<u64>();
        info!(events_lost = sum(&self.events), records_lost = sum(&self.records), "stopped");
    }

    fn losses(
        &mut self,
        health: &AgentHealth,
        history: &store::Health,
        mut see: impl FnMut(&mut Paced, u64) -> Option<u64>,
    ) {
        for (paced, (stage, total)) in self.events.iter_mut().zip(health.flow.lost()) {
            if let Some(lost) = see(paced, total) {
                warn!(stage, lost, total, "events were lost: the next snapshot corrects the table");
            }
        }
        for (paced, reason) in self.records.iter_mut().zip(REASONS) {
            if let Some(lost) = see(paced, history.lost(reason)) {
                let (reason, total) = (reason.as_str(), paced.total());
                warn!(reason, lost, total, "records of the history were lost");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::hooks::Signal,
        log::tests_support::logged,
        model::{judgement::worth::Worth, table::agent_health::EventFlow},
    };
    use serde_json::Value;

    const fn at(second: u64) -> Time {
        Time((1_000_000 + second) * 1_000_000_000)
    }

    fn flow(flow: EventFlow) -> AgentHealth {
        AgentHealth { flow, ..AgentHealth::default() }
    }

    fn account() -> Account {
        Account::new(Duration::from_secs(15))
    }

    fn messages(lines: &[Value]) -> Vec<&str> {
        lines.iter().map(|line| line["message"].as_str().unwrap()).collect()
    }

    #[test]
    fn each_loss_is_said_at_once_then_in_sums_that_add_up() {
        let (mut account, history) = (account(), store::Health::default());
        let lines = logged(|| {
            for second in 0..95 {
                let dropped = second * second;
                account.look(
                    &flow(EventFlow { dropped, ..EventFlow::default() }),
                    &history,
                    at(second),
                );
            }
            let last = EventFlow { dropped: 26_794, undecodable: 1, ..EventFlow::default() };
            account.finish(&flow(last), &history, at(95));
        });
        let of = |stage: &'static str| lines.iter().filter(move |line| line["stage"] == stage);
        let lost: Vec<_> = of("ring_full").map(|line| line["lost"].as_u64().unwrap()).collect();
        assert_eq!(lost.len(), 11, "one each 10 s, and the rest: {lost:?}");
        assert_eq!(lost.iter().sum::<u64>(), 26_794);
        assert_eq!(of("ring_full").next_back().unwrap()["total"], 26_794);
        assert_eq!(of("undecodable").count(), 1, "of its own kind, at once");
        let last = lines.last().unwrap();
        assert_eq!((&last["message"], &last["events_lost"]), (&"stopped".into(), &26_795.into()));
        assert!(lines.iter().all(|line| line["level"] == "warn" || line == last));
    }

    #[test]
    fn an_agent_that_loses_nothing_says_nothing() {
        let (mut account, history) = (account(), store::Health::default());
        let lines = logged(|| {
            for second in 0..100 {
                let busy =
                    EventFlow { seen: second * 1000, filtered: second, ..EventFlow::default() };
                let health = AgentHealth { walk_cpu_ms: 750, ..flow(busy) };
                account.look(&health, &history, at(second));
            }
        });
        assert!(lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn lost_records_are_said_with_the_reason_and_ordinary_ones_are_not() {
        let (mut account, history) = (account(), store::Health::default());
        let lines = logged(|| {
            history.lose(Loss::Budget, Worth::Ordinary, 0, 1000);
            account.look(&AgentHealth::default(), &history, at(0));
            history.lose(Loss::Queue, Worth::Ordinary, 0, 10);
            history.lose(Loss::Queue, Worth::Silence, 0, 20);
            history.lose(Loss::Disk, Worth::Setting, 0, 2);
            account.look(&AgentHealth::default(), &history, at(1));
        });
        let said: Vec<_> = lines.iter().map(|line| (&line["reason"], &line["lost"])).collect();
        assert_eq!(said, [(&"queue".into(), &30.into()), (&"disk".into(), &2.into())]);
    }

    #[test]
    fn stretched_walks_are_said_once_and_so_is_their_end() {
        let (mut account, history) = (account(), store::Health::default());
        let lines = logged(|| {
            for second in 0..200 {
                // Now and then one is short: that is no end.
                let is_slow = second < 100 && second % 7 > 0;
                let walk_cpu_ms = if is_slow { 2000 } else { 700 };
                let health = AgentHealth { walk_cpu_ms, ..AgentHealth::default() };
                account.look(&health, &history, at(second));
            }
        });
        let said = messages(&lines);
        assert_eq!(said.len(), 2, "{lines:?}");
        assert!(said[0].contains("less often") && said[1].contains("again"), "{said:?}");
        assert_eq!(
            (&lines[0]["every_seconds"], &lines[0]["cpu_seconds"]),
            (&40.0.into(), &2.0.into())
        );
    }

    #[test]
    fn a_wall_clock_that_jumps_is_said_each_time_and_one_that_is_corrected_is_not() {
        let lines = logged(|| {
            let mut account = account();
            for seconds in [100, 101, 102, 21_702, 21_703, -500] {
                account.look_at_clock(seconds * 1_000_000_000);
            }
        });
        let said: Vec<_> = lines.iter().map(|line| line["by_seconds"].as_i64()).collect();
        assert_eq!(said, [Some(21_600), Some(-22_203)]);
    }

    #[test]
    fn an_agent_that_does_not_see_the_hosts_processes_says_so_once_and_that_it_is_over() {
        use HostView::{NoProc, OtherPidNamespace, Whole};
        let said = |views: &[HostView]| {
            let (mut account, history) = (account(), store::Health::default());
            let lines = logged(|| {
                for &host_view in views {
                    let health = AgentHealth { host_view, ..AgentHealth::default() };
                    account.look(&health, &history, at(0));
                }
            });
            messages(&lines).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(said(&[Whole, Whole]), [""; 0]);
        let said_of_namespace = said(&[OtherPidNamespace, OtherPidNamespace]);
        assert_eq!(said_of_namespace, ["only processes of this pid namespace are seen"]);
        let over = "the processes of the whole host are seen again";
        assert_eq!(said(&[Whole, NoProc, NoProc, Whole]), ["there is no /proc", over]);
    }

    #[test]
    fn a_missing_hook_is_a_warning_with_what_is_blind_and_a_second_best_one_is_not() {
        let status = |failure, passed_over| hooks::SignalStatus {
            signal: Signal::KeepaliveTimer,
            mechanism: "kprobe/tcp_keepalive_timer",
            failure,
            passed_over,
        };
        let refused = || Error::Refused { attempt: "load fentry".to_owned() };
        let lines = logged(|| {
            hook(&status(Some(refused()), Vec::new()));
            hook(&status(None, vec![refused()]));
            hook(&status(None, Vec::new()));
        });
        let level: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
        assert_eq!(level, ["warn", "info", "debug"]);
        assert!(lines[0]["blind_to"].as_str().unwrap().contains("probes"));
        assert_eq!(lines[1]["mechanism"], "kprobe/tcp_keepalive_timer");
        assert!(lines[1]["cause"].as_str().unwrap().contains("load fentry"));
    }
}
