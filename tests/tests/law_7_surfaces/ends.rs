//! The same connections end, each in its way, and every surface names one cause.

use crate::{
    population::{EveryCondition, Fate, PATH_NAME},
    surfaces::{encoded, lines},
};
use keepwatch_tests::{
    answer::{agent::Agent, http, trace::Trace, truth::process_name},
    kernel::socket::{self, Road, SocketOption},
    network::ending,
    wait::within,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const ENDED_WITHIN: Duration = Duration::from_mins(1);

/// A connection that ends, and what it must die of.
#[derive(Clone, Debug)]
pub(crate) struct EndingConnection {
    id: String,
    local: SocketAddr,
    is_in_the_dark: bool,
    /// None where it depends on chance: all must name the same.
    cause: Option<&'static str>,
}

/// Ends every connection by what it is.
pub(crate) fn end_each(population: &mut EveryCondition) -> Vec<EndingConnection> {
    let mut ending = Vec::new();
    let mut n_local = 0;
    for one in std::mem::take(&mut population.connections) {
        let (kind, id, local) = (one.kind, one.id, one.ends.local);
        let (client, accepted) = (one.ends.client, one.ends.accepted);
        let (cause, kept) = match kind {
            Fate::Protected => {
                ending::reset(client);
                (Some("local_reset"), vec![accepted])
            }
            Fate::KeptByTraffic => {
                ending::reset(accepted);
                (Some("peer_reset"), vec![client])
            }
            Fate::Off | Fate::KeptByProbes => {
                drop(client);
                drop(accepted);
                (Some("local_closed"), Vec::new())
            }
            Fate::Late | Fate::PeerClosed => {
                drop(accepted);
                socket::wait_for_state(&client, socket::CLOSE_WAIT, ENDED_WITHIN);
                drop(client);
                (Some("peer_closed"), Vec::new())
            }
            Fate::PeerSilent => {
                Road::Call.set(&client, SocketOption::KeepCnt, 2);
                (Some("keepalive_timeout"), vec![client, accepted])
            }
            Fate::Stuck => {
                // The program does not wait any longer.
                ending::reset(client);
                (Some("abandoned"), vec![accepted])
            }
            Fate::Local => {
                n_local += 1;
                if n_local % 2 == 0 {
                    ending::reset(client);
                } else {
                    drop(client);
                }
                drop(accepted);
                (None, Vec::new())
            }
        };
        population.held.extend(kept);
        let is_in_the_dark = matches!(kind, Fate::Stuck | Fate::PeerSilent);
        ending.push(EndingConnection { id, local, is_in_the_dark, cause });
    }
    ending
}

/// What each surface says of each, once all are dead.
#[track_caller]
pub(crate) fn compare(agent: &Agent, traces: &[Trace; 2], ending: &[EndingConnection]) {
    let ends = all_ends(agent, ending);
    let mut by_cause: BTreeMap<String, u64> = BTreeMap::new();
    for one in ending {
        let EndingConnection { id, local, is_in_the_dark, cause } = one;
        let end = &ends[id];
        let said = end["cause"].as_str().unwrap();
        assert!(cause.is_none_or(|cause| cause == said), "{said}: {one:?}: {end}");
        if end["path"] == PATH_NAME {
            *by_cause.entry(said.to_owned()).or_default() += 1;
        }
        let cases = lines(agent, &["why", id]);
        let [case] = cases.as_slice() else { panic!("{id}: {cases:?}") };
        let causes = case["causes"].as_array().unwrap();
        let [named] = causes.as_slice() else { panic!("{id}: {causes:?}") };
        let (_, traced) = traces[usize::from(*is_in_the_dark)].death_of(*local);
        let mut surfaces = vec![
            ("why", named["cause"].clone()),
            ("why's example", case["example"]["cause"].clone()),
            ("trace without the agent", json!(traced.cause)),
        ];
        let kept = in_history(agent, id, said);
        surfaces.extend(kept.iter().map(|death| ("/v1/deaths", death["cause"].clone())));
        for (surface, named) in surfaces {
            assert_eq!(named, said, "{surface} and /v1/events: {one:?}: {end}");
        }
        for field in ["verdict", "idle_limit_seconds", "path"] {
            let (here, there) = (&case["example"][field], &end[field]);
            assert_eq!(here, there, "{field}: why and /v1/events: {one:?}");
        }
    }
    let metrics = within(ENDED_WITHIN, || (counted(agent)? == by_cause).then_some(()));
    assert!(metrics.is_some(), "metrics: {:?}, events: {by_cause:?}", counted(agent));
}

/// The one end of each, as the agent remembers it.
#[track_caller]
fn all_ends(agent: &Agent, ending: &[EndingConnection]) -> BTreeMap<String, Value> {
    let mut ends: BTreeMap<String, Value> = BTreeMap::new();
    let all = within(ENDED_WITHIN, || {
        for one in ending.iter().filter(|one| !ends.contains_key(&one.id)).collect::<Vec<_>>() {
            let wanted = json!({
                "past": true, "past_only": true, "event": ["died", "ended"], "filter": { "id": [one.id] },
            });
            let found = agent.ask(&format!("/v1/events?wanted={}", encoded(&wanted)));
            assert!(found.len() <= 1, "{} died more than once: {found:#?}", one.id);
            ends.extend(found.into_iter().map(|end| (one.id.clone(), end)));
        }
        (ends.len() == ending.len()).then_some(())
    });
    let missing: Vec<_> = ending.iter().filter(|one| !ends.contains_key(&one.id)).collect();
    assert!(all.is_some(), "still not dead: {missing:#?}");
    ends
}

/// Its death in the history, which is written a little later. What was closed in order and never quiet for long may be
/// left out.
#[track_caller]
fn in_history(agent: &Agent, id: &str, cause: &str) -> Vec<Value> {
    let kept = within(ENDED_WITHIN, || {
        let kept = agent.ask(&format!("/v1/deaths?id={}", id.replace(':', "%3A")));
        (cause.ends_with("_closed") || kept.len() == 1).then_some(kept)
    });
    kept.unwrap_or_else(|| panic!("{id}: {cause} is not in the history"))
}

/// Deaths of outbound connections of this process on the path, by cause, as metrics count them. On this host it asks the
/// agent, too.
fn counted(agent: &Agent) -> Option<BTreeMap<String, u64>> {
    let ours = [
        format!("process=\"{}\"", process_name("self")),
        format!("path=\"{PATH_NAME}\""),
        "direction=\"outbound\"".to_owned(),
    ];
    let scrape = http::get(agent.address(), "/metrics", "text/plain").ok()?.body;
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for line in scrape.lines().filter(|line| line.starts_with("keepwatch_deaths_total{")) {
        if ours.iter().all(|label| line.contains(label)) {
            let cause = line.split("cause=\"").nth(1)?.split('"').next()?;
            let n: u64 = line.rsplit_once(' ')?.1.parse().ok()?;
            *counted.entry(cause.to_owned()).or_default() += n;
        }
    }
    Some(counted)
}
