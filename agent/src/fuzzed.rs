//! What reads bytes of others, each as one function that `cargo xtask fuzz` calls with whatever it likes. None may panic, overflow,
//! take unbounded memory or break what it promises. Built by `--cfg fuzzing`, and for tests: those of each run change the corpora at random.
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a finding is a panic")]

use crate::{
    command::{parsed_config, parsed_policy},
    config::{self, web},
    kernel::{btf::Btf, decode::Decoder},
    model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{event::Event, socket::Time},
        table::{Bounds, Table},
    },
    owner,
    store::Query,
    view::{event_filter::EventFilter, peer_pattern::PeerPattern},
};

/// Records of the hooks, of 256 bytes each with one byte of advice before: the table behind them stays within its bounds, and its sums
/// are those of its rows.
pub fn record(data: &[u8]) {
    const MOST: usize = 16;
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings::new(limits, 250);
    let mut table = Table::new(around, Bounds::new(MOST, MOST));
    let decoder = Decoder::new(250);
    let mut last = Time(0);
    for piece in data.chunks(257) {
        let Some((advice, bytes)) = piece.split_first() else {
            continue;
        };
        match advice % 8 {
            0 => table.begin_walk(advice & 8 != 0),
            1 => {
                for id in table.unmet(|socket| socket.id) {
                    table.apply(Event::Gone { id, at: last });
                }
                table.end_walk();
            }
            2 => table.settle(last),
            _ => {}
        }
        if let Ok(event) = decoder.decode(bytes) {
            if let Event::Seen(socket) | Event::Found(socket) | Event::StateChange { socket, .. } =
                &event
            {
                last = socket.at;
            }
            table.apply(event);
        }
    }
    let mut n_rows = 0_u64;
    table.scan(0, u32::MAX, |_| true, |_, _, _| n_rows += 1);
    let totals = table.totals();
    assert!(n_rows <= MOST as u64, "{n_rows} rows where {MOST} are allowed");
    assert_eq!(totals.n_tracked, n_rows, "sockets that are tracked");
    assert!(table.histories().count() <= MOST, "more histories than are allowed");
    drop(table.take_happenings());
}

/// Type information of a kernel.
pub fn btf(data: &[u8]) {
    let wanted = ["sock", "tcp_sock", "inet_connection_sock", "sock_common", "net", "file"];
    let Ok(btf) = Btf::parse(data, &wanted) else {
        return;
    };
    for path in
        ["sock.sk_flags", "tcp_sock.keepalive_time", "sock.__sk_common.skc_dport", "net.ns.inum"]
    {
        let _found = (btf.member(path), btf.bit(path), btf.type_with(path));
    }
    drop(btf.only(&["sock", "file"]));
}

/// The config file.
pub fn config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        parsed_config(text);
    }
}

/// A policy of `check`.
pub fn policy(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        parsed_policy(text);
    }
}

/// The web config.
pub fn web_config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        web::parsed(text);
    }
}

/// What the API is asked, as JSON: what is understood means the same when it is written again.
pub fn query(data: &[u8]) {
    // Times are fractions, of which the last digit may change.
    if let Ok(wanted) = serde_json::from_slice::<EventFilter>(data) {
        again(&EventFilter { since: None, until: None, ..wanted });
    }
    if let Ok(query) = serde_json::from_slice::<Query>(data) {
        again(&Query { since: None, until: None, ..query });
    }
}

fn again<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(it: &T) {
    let text = serde_json::to_string(it).unwrap_or_else(|error| panic!("{error} in {it:?}"));
    match serde_json::from_str::<T>(&text) {
        Ok(read) => assert_eq!(&read, it, "{text}"),
        Err(error) => panic!("{error} in {text}"),
    }
}

/// Lines of `/proc/PID/cgroup`.
pub fn cgroup(data: &[u8]) {
    owner::parsed_cgroup(data);
}

/// What is typed as a path, a limit or a peer: a path reads back as it is written.
pub fn typed(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(path) = config::network_path(text) {
        let written = path.to_string();
        assert_eq!(config::network_path(&written).as_ref(), Ok(&path), "{written}");
    }
    drop((config::idle_limit(text), config::moment(text)));
    if let Ok(pattern) = text.parse::<PeerPattern>() {
        let written = pattern.to_string();
        assert_eq!(written.parse::<PeerPattern>().as_ref(), Ok(&pattern), "{written}");
    }
}

/// What needs no fuzzer, so that each run of the tests has it: the corpora, and changes of them.
#[cfg(test)]
mod tests {
    use std::{
        fmt::Write as _,
        fs,
        panic::{AssertUnwindSafe, catch_unwind},
        path::Path,
        time::{Duration, Instant},
    };

    /// Changed inputs of each target, unless that takes longer.
    const N_CHANGED: usize = 20_000;
    const WITHIN: Duration = Duration::from_secs(5);
    const MOST_BYTES: usize = 4096;

    /// Numbers that are the same in each run (xorshift64, of Marsaglia).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % u64::try_from(n.max(1)).unwrap()).unwrap()
        }

        fn byte(&mut self) -> u8 {
            // Bytes that mean something to a reader of text, or of numbers, come more often.
            const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\n\"'\\/.:,=-+[]{}0129";
            if self.below(2) == 0 {
                TELLING[self.below(TELLING.len())]
            } else {
                u8::try_from(self.below(256)).unwrap()
            }
        }

        /// An input out of one of these, or of two.
        fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
            let mut input = seeds[self.below(seeds.len())].clone();
            for _ in 0..=self.below(8) {
                let (at, byte) = (self.below(input.len() + 1), self.byte());
                match self.below(6) {
                    0 | 1 if at < input.len() => input[at] = byte,
                    2 if at < input.len() => input[at] ^= 1 << self.below(8),
                    3 => input.insert(at, byte),
                    4 => drop(input.drain(at..(at + self.below(16)).min(input.len()))),
                    _ => {
                        let other = &seeds[self.below(seeds.len())];
                        let from = self.below(other.len() + 1);
                        let to = (from + self.below(512)).min(other.len());
                        input.splice(at..at, other[from..to].iter().copied());
                    }
                }
            }
            input.truncate(MOST_BYTES);
            input
        }
    }

    #[track_caller]
    fn holds(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        let check = |input: &[u8]| {
            if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
                let hex = input.iter().fold(String::new(), |mut hex, byte| {
                    write!(hex, "{byte:02x}").unwrap();
                    hex
                });
                panic!("{name} breaks; the input, in hex: {hex}");
            }
        };
        for seed in &seeds {
            check(seed);
        }
        #[expect(clippy::disallowed_methods, reason = "a bound on the time of a test")]
        let began = Instant::now();
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let tried = (0..N_CHANGED).take_while(|_| {
            check(&numbers.changed(&seeds));
            began.elapsed() < WITHIN
        });
        assert!(tried.count() >= 100, "{name}: one input takes more than {WITHIN:?} / 100");
    }

    #[test]
    fn changed_records_break_neither_the_decoder_nor_the_table() {
        holds("record", super::record);
    }

    #[test]
    fn changed_btf_is_an_error_or_an_absence() {
        holds("btf", super::btf);
    }

    #[test]
    fn changed_files_of_settings_are_read_or_refused() {
        holds("config", super::config);
        holds("policy", super::policy);
        holds("web_config", super::web_config);
    }

    #[test]
    fn changed_questions_and_words_mean_the_same_when_they_are_written_again() {
        holds("query", super::query);
        holds("typed", super::typed);
        holds("cgroup", super::cgroup);
    }
}
