//! The history while somebody floods it: thousands of connections a second that end by a reset, in a namespace of their
//! own. Deaths of silence, and what happens to others, are found in it all the same, on disk and in memory.

use keepwatch::tested::{Query, judgement::death::Cause};
use keepwatch_tests::{
    answer::{agent::Agent, history, metrics::Metrics},
    kernel::{
        flood::Flood,
        socket::{self, Plan},
    },
    network::{
        ending::{self, exchange, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    wait,
};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};

const SOON: Duration = Duration::from_mins(1);
/// The middlebox forgets what is quiet for longer.
const FORGETS_AFTER: u32 = 4;
const QUIET: Duration = Duration::from_secs(6);
/// A history that the flood fills within seconds.
const OPTIONS: [&str; 8] = [
    "--interval",
    "500ms",
    "--idle-limit",
    "5s",
    "--history-bytes",
    "2MiB",
    "--max-histories",
    "500",
];

#[test]
fn a_flood_of_resets_pushes_out_no_death_of_silence_and_no_reset_of_others() {
    const N_DROPS: usize = 20;
    // A reset of its own would come late on a host as busy as this one, as from the peer's program.
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    path.near.set("ipv4/tcp_retries2", 3);
    let agent = Agent::start(&OPTIONS);
    let state = agent.state();
    let drops =
        || history::deaths(&state, &Query { cause: Some(Cause::IdleDrop), ..Query::default() });
    let resets_of = |local: SocketAddr| {
        // The flood has all ports, too.
        let (peer, port) = (Some(path.server.ip().into()), Some(local.port()));
        history::deaths(&state, &Query { peer, port, ..Query::default() })
    };
    let before = ending::forgotten(&path, QUIET);
    wait::until("the death is written down", SOON, || drops().pop());
    let reset_before = ending::reset_by_peer(&path);
    wait::until("the reset is written down", SOON, || resets_of(reset_before).pop());

    // The history is what is flooded: the ring has room for all.
    let flood = Flood::that_rests(Duration::from_micros(300));
    let ends: Vec<Ends> = (0..N_DROPS).map(|_| path.connect(&Plan::NOTHING)).collect();
    for Ends { client, accepted, .. } in &ends {
        exchange(client, accepted);
    }
    for Ends { client, .. } in &ends {
        wait_for_quiet(client, QUIET);
        socket::send(client, b"are you there?");
    }
    for Ends { client, .. } in &ends {
        ending::error_at_end(client);
    }
    wait::until("a reset of others is kept", SOON, || {
        let local = ending::reset_by_peer(&path);
        wait::within(Duration::from_secs(2), || resets_of(local).pop())
    });
    wait::until("the flood has filled the file, and made room", Duration::from_mins(2), || {
        let lost = agent.ask("/v1/status")[0]["history"]["lost_by_worth"]["ordinary"].clone();
        (lost["size"].as_u64() > Some(0) && lost["budget"].as_u64() > Some(0)).then_some(())
    });
    drop(flood);

    // What found no room between the kernel and the agent is lost before it is a death.
    let n_counted = Metrics::of(&agent).sum("keepwatch_deaths_total", "cause=\"idle_drop\"");
    let is_all = || {
        let found = drops();
        (found.len().to_string() == n_counted.to_string()).then_some(found)
    };
    let found = wait::until(format!("{n_counted} deaths of silence"), SOON, is_all);
    assert!(found.iter().any(|death| death.event.connection.local == before), "the one of before");
    assert!(found.len() > N_DROPS / 2, "{} of {N_DROPS}", found.len());
    assert_eq!(resets_of(reset_before).len(), 1, "the reset of before");

    let not_kept = agent.ask("/v1/not-kept");
    let kinds: Vec<_> = not_kept.iter().map(|it| (&it["worth"], &it["reason"])).collect();
    let ordinary: Value = "ordinary".into();
    assert!(kinds.contains(&(&ordinary, &"size".into())), "{not_kept:?}");
    let of_the_history = || kinds.iter().filter(|(_, reason)| **reason != "kernel");
    assert!(of_the_history().all(|(worth, _)| **worth == ordinary), "{not_kept:?}");
    let remembered =
        agent.ask("/v1/events?wanted=%7B%22event%22:%5B%22died%22%5D,%22past_only%22:true%7D");
    let is_before = |event: &&Value| event["local"] == before.to_string();
    let cause = remembered.iter().find(is_before).map(|event| event["cause"].clone());
    assert_eq!(cause, Some("idle_drop".into()), "in memory, too");
}
