//! What reads bytes of others, each as one function that `cargo xtask fuzz` calls with whatever it likes. None may panic, overflow,
//! take unbounded memory or break what it promises. Built by `--cfg fuzzing` alone.
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
use std::collections::BTreeSet;

/// Records of the hooks, of 256 bytes each with one byte of advice before: the table behind them stays within its bounds, and its sums
/// are those of its rows.
pub fn record(data: &[u8]) {
    const MOST: usize = 16;
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings { limits, host: BTreeSet::new(), hz: 250 };
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
        let (member, bit, holder) = (btf.member(path), btf.bit(path), btf.type_with(path));
        drop((member, bit, holder));
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
