//! The same for a long time.

use crate::figures::ProcessFigures;
use keepwatch_tests::{
    answer::{agent::Agent, metrics::Metrics},
    kernel::{flood::Flood, kernel_ids::KernelIds},
    wait::{now, within},
};
use std::{io::Write as _, os::unix::net::UnixStream, time::Duration};

/// Memory that may be added after the first quarter.
const MOST_MIB: f64 = 8.0;

pub(crate) fn minutes(minutes: u64) -> String {
    let agent = Agent::start(&["--interval", "5s"]);
    let idle_readers: Vec<UnixStream> = (0..2).map(|_| stream_of(&agent)).collect();
    let flood = Flood::start(1);
    let whole = Duration::from_secs(minutes * 60);
    let rest_for = |time: Duration| {
        let _: Option<()> = within(time, || None);
    };
    let began = now();
    rest_for(whole / 4);
    let quarter = ProcessFigures::of(&agent);
    let ids = KernelIds::of(agent.pid());
    rest_for(whole.saturating_sub(began.elapsed()));
    let end = ProcessFigures::of(&agent);
    assert!(ids.are_in_the_kernel(), "a program, map or link is gone: {ids:?}");
    assert_eq!(KernelIds::of(agent.pid()), ids, "programs, maps and links");
    assert!(end.resident_mib < quarter.resident_mib + MOST_MIB, "{quarter:?}, then {end:?}");
    assert!(end.n_descriptors <= quarter.n_descriptors + 2, "{quarter:?}, then {end:?}");
    let cpu_seconds = Metrics::of(&agent).sum("process_cpu_seconds_total", "");
    drop(idle_readers);
    format!(
        "{minutes} min, {:.0} connections a second: {:.1} MiB after a quarter, {:.1} at the end, {:.1} at most; {} descriptors; \
         {cpu_seconds:.1} s of CPU",
        flood.rate(),
        quarter.resident_mib,
        end.resident_mib,
        end.peak_mib,
        end.n_descriptors
    )
}

/// Asks for all events, and never reads an answer.
fn stream_of(agent: &Agent) -> UnixStream {
    let mut stream = UnixStream::connect(agent.socket()).expect("connect to the agent");
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: agent\r\n\r\n").expect("ask");
    stream
}
