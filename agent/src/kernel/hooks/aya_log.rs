//! The hooks' own log: what went wrong inside them (`agent-ebpf/src/report.rs`), by aya-log, into the
//! agent's log. A kind of trouble that comes often is cut to a few lines and a number.

use super::error::{Error, failed};
use crate::model::{observed::socket::Time, text::sanitize::escaped};
use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray},
};
use aya_log::EbpfLogger;
use clap::ValueEnum;
use keepwatch_ebpf::{
    name,
    trouble::{METER_LEN, Meter, Trouble},
};
use log::{Level, Log, Metadata, Record};
use std::sync::{Arc, Mutex, PoisonError};
use zerocopy::FromBytes as _;

/// What of the hooks' own troubles is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Nothing: the kernel removes it from the hooks when they load
    #[default]
    Off,
    /// What cannot be: the hooks, or what they know of this kernel, are wrong
    Error,
    /// What keepwatch does not show because a hook could not do its work
    Warn,
    /// Calls of programs that no hook can attribute, such as setsockopt on a pipe
    Info,
    /// What is ordinary while hooks are attached
    Debug,
}

impl LogLevel {
    /// As the option names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// As aya-log numbers it (`aya_log_common::Level`).
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Error => 1,
            Self::Warn => 2,
            Self::Info => 3,
            Self::Debug => 4,
        }
    }

    /// Bytes of the ring that carries it: enough for all lines that the hooks write in a tick.
    pub(super) fn ring_bytes(self) -> u32 {
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        if self == Self::Off { page } else { page.max(128 << 10) }
    }
}

/// The target of every line: what is shown of them is decided by [`LogLevel`] alone.
pub const TARGET: &str = "keepwatch::hooks";
/// Lines of one kind that are shown in a period.
const LINES: u32 = 8;
/// After this time, the lines that were not shown are summed up in one.
const PERIOD_MS: u64 = 10_000;

/// The reading end of the hooks' log. There is one. Dropped, it shows what it still has.
pub struct HookLog {
    logger: EbpfLogger<Sink>,
    lines: Arc<Mutex<Vec<HookLine>>>,
    meters: PerCpuArray<MapData, [u8; METER_LEN]>,
    accounts: [LineAccount; Trouble::ALL.len()],
    settled: Option<Time>,
}

impl HookLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let attempt = "read the hooks' log";
        let meters = ebpf.take_map(name::METERS).ok_or_else(|| failed(attempt, "no such map"))?;
        let meters = PerCpuArray::try_from(meters).map_err(|error| failed(attempt, error))?;
        let lines = Arc::default();
        let logger = EbpfLogger::init_with_logger(ebpf, Sink(Arc::clone(&lines)))
            .map_err(|error| failed(attempt, error))?;
        Ok(Self { logger, lines, meters, accounts: Default::default(), settled: None })
    }

    /// Shows what has come. Sums up what was held back, when it is time.
    pub fn flush(&mut self, now: Time) -> Result<(), Error> {
        let since_ms = now.ms_since(*self.settled.get_or_insert(now));
        if since_ms < PERIOD_MS {
            self.read();
            return Ok(());
        }
        self.settled = Some(now);
        self.settle(since_ms)
    }

    /// Shows the lines that the hooks have written.
    fn read(&mut self) {
        self.logger.flush();
        let lines = std::mem::take(&mut *locked(&self.lines));
        for HookLine { kind, level, text } in lines {
            if self.account(kind).is_some_and(|account| account.admit(level, &text)) {
                show(level, kind.name(), None, &text);
            }
        }
    }

    fn settle(&mut self, since_ms: u64) -> Result<(), Error> {
        // First the numbers: a line that is written meanwhile is then no loss.
        let mut meters = Vec::with_capacity(Trouble::ALL.len());
        for kind in Trouble::ALL {
            meters.push((kind, self.meter(kind)?));
        }
        self.read();
        for (kind, meter) in meters {
            if let Some(account) = self.account(kind)
                && let Some(more) = account.settle(meter)
            {
                show(account.level(), kind.name(), Some(more.n), &more.text(kind, since_ms));
            }
        }
        Ok(())
    }

    fn account(&mut self, kind: Trouble) -> Option<&mut LineAccount> {
        self.accounts.get_mut(usize::try_from(kind.number()).ok()?)
    }

    /// Sums the counters of all CPUs.
    fn meter(&self, kind: Trouble) -> Result<Meter, Error> {
        let read = |error: MapError| failed("read the counters of the hooks' log", error);
        let mut total = Meter::default();
        for bytes in self.meters.get(&kind.number(), 0).map_err(read)?.iter() {
            let one = Meter::read_from_bytes(bytes).unwrap_or_default();
            total.met += one.met;
            total.said += one.said;
        }
        Ok(total)
    }
}

impl Drop for HookLog {
    fn drop(&mut self) {
        let settled = self.settled.map_or(PERIOD_MS, |at| crate::kernel::clock::now().ms_since(at));
        drop(self.settle(settled)); // what it shows at least is what has come
    }
}

/// One line of a hook.
struct HookLine {
    kind: Trouble,
    level: Level,
    text: String,
}

/// Takes what aya-log has read.
struct Sink(Arc<Mutex<Vec<HookLine>>>);

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(kind) = Trouble::named(record.target()) {
            let text = clean(&record.args().to_string());
            locked(&self.0).push(HookLine { kind, level: record.level(), text });
        }
    }

    fn flush(&self) {}
}

/// Hooks write names in full length, with zeros; a process chose them.
fn clean(text: &str) -> String {
    escaped(text.replace('\0', "").as_bytes())
}

/// What became of one kind of trouble, in numbers.
#[derive(Clone, Debug, Default)]
struct LineAccount {
    /// Lines taken out of the ring buffer.
    received: u64,
    /// Lines that were shown, of all and in this period.
    shown: u64,
    in_period: u32,
    /// Troubles in the sums that were shown.
    summed: u64,
    /// Lines that did not come, in those sums.
    lost: u64,
    level: Option<Level>,
    /// The last line that was shown in this period.
    last: String,
}

impl LineAccount {
    /// Whether one more line is shown: not if it says the same as the last one.
    fn admit(&mut self, level: Level, text: &str) -> bool {
        self.level = Some(level);
        self.received += 1;
        let is_shown = self.in_period < LINES && self.last != text;
        if is_shown {
            self.in_period += 1;
            self.shown += 1;
            text.clone_into(&mut self.last);
        }
        is_shown
    }

    /// A period is over: what was not shown in it.
    fn settle(&mut self, meter: Meter) -> Option<More> {
        self.in_period = 0;
        self.last.clear();
        let n = meter.met.saturating_sub(self.shown + self.summed);
        let n_lost = meter.said.saturating_sub(self.received + self.lost);
        self.summed += n;
        self.lost += n_lost;
        (n > 0).then_some(More { n, n_lost })
    }

    /// That of the last line.
    fn level(&self) -> Level {
        self.level.unwrap_or(Level::Warn)
    }
}

/// Troubles of one kind that were not shown one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct More {
    n: u64,
    /// Of those, lines that the full ring of the log did not take.
    n_lost: u64,
}

impl More {
    fn text(self, kind: Trouble, since_ms: u64) -> String {
        let Self { n, n_lost } = self;
        let (kind, seconds) = (kind.name(), since_ms.div_ceil(1000));
        let lost = if n_lost > 0 {
            format!(", {n_lost} of them because the ring of the log was full")
        } else {
            String::new()
        };
        format!("... and {n} more like it ({kind}) in the last {seconds} s{lost}")
    }
}

fn show(level: Level, kind: &'static str, more: Option<u64>, text: &str) {
    match level {
        Level::Error => tracing::error!(target: TARGET, kind, more, "{text}"),
        Level::Warn => tracing::warn!(target: TARGET, kind, more, "{text}"),
        Level::Info => tracing::info!(target: TARGET, kind, more, "{text}"),
        Level::Debug | Level::Trace => tracing::debug!(target: TARGET, kind, more, "{text}"),
    }
}

/// What is behind the lock is whole at all times.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(met: u64, said: u64) -> Meter {
        Meter { met, said, ..Meter::default() }
    }

    /// How many of `n` lines are shown.
    fn shown(account: &mut LineAccount, n: u32) -> usize {
        (0..n).filter(|number| account.admit(Level::Info, &format!("line {number}"))).count()
    }

    #[test]
    fn a_few_lines_are_shown_and_there_is_nothing_to_sum_up() {
        let mut account = LineAccount::default();
        assert_eq!(shown(&mut account, 8), 8);
        assert_eq!(account.settle(meter(8, 8)), None);
    }

    #[test]
    fn of_many_a_handful_is_shown_and_the_rest_is_a_number_in_each_period() {
        let mut account = LineAccount::default();
        assert_eq!(shown(&mut account, 16), 8);
        assert_eq!(account.settle(meter(100_000, 16)), Some(More { n: 99_992, n_lost: 0 }));
        assert_eq!(account.settle(meter(100_000, 16)), None, "each is counted once");
        assert_eq!(shown(&mut account, 3), 3, "a new period");
        assert_eq!(account.settle(meter(100_004, 19)), Some(More { n: 1, n_lost: 0 }));
        assert_eq!(account.shown + account.summed, 100_004, "all are accounted for");
    }

    #[test]
    fn the_same_line_again_is_a_number() {
        let mut account = LineAccount::default();
        let said = ["a", "a", "b", "b", "a"].map(|text| account.admit(Level::Info, text));
        assert_eq!(said, [true, false, true, false, true]);
        assert_eq!(account.settle(meter(5, 5)), Some(More { n: 2, n_lost: 0 }));
        assert!(account.admit(Level::Info, "a"), "a new period");
    }

    #[test]
    fn lines_that_a_full_ring_did_not_take_are_told_apart() {
        let mut account = LineAccount::default();
        assert_eq!(shown(&mut account, 5), 5);
        assert_eq!(account.settle(meter(9, 7)), Some(More { n: 4, n_lost: 2 }));
        assert_eq!(account.settle(meter(9, 7)), None);
        let text = More { n: 4, n_lost: 2 }.text(Trouble::NoSocket, 9_001);
        assert!(text.contains("4 more like it (no_socket) in the last 10 s, 2 of them"), "{text}");
    }

    #[test]
    fn a_line_that_came_while_the_numbers_were_read_is_no_loss() {
        let mut account = LineAccount::default();
        assert_eq!(shown(&mut account, 6), 6);
        assert_eq!(account.settle(meter(5, 5)), None);
        assert_eq!(account.settle(meter(7, 6)), Some(More { n: 1, n_lost: 0 }));
    }

    #[test]
    fn names_of_processes_are_cut_at_their_end_and_cannot_write_to_a_terminal() {
        assert_eq!(clean("process 8 (sh\0\0\0) called"), "process 8 (sh) called");
        assert_eq!(clean("(\u{1b}[2J\n)"), "(\\u{1b}[2J\\n)");
    }

    #[test]
    fn a_level_has_the_number_that_aya_log_gives_it() {
        let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];
        use aya_log::Level;
        let theirs = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        assert_eq!(levels.map(LogLevel::number), theirs.map(u8::from));
        assert_eq!(LogLevel::Off.number(), 0, "less than any");
    }
}
