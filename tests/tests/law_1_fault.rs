//! Law 1 (docs/ARCHITECTURE.md#laws) can fail: a deliberate fault in one offset is found, either by the comparison with
//! getsockopt, or before it by the verifier or the witness that every walk reads first.

use keepwatch::tested::{
    clock,
    hooks::{self, Hooks, Scope},
    host,
    judgement::{
        idle_limit::{IdleLimit, Limits},
        verdict::Surroundings,
    },
    observed::{
        event::Event,
        socket::{Owner, Socket, SocketId},
    },
    row,
};
use keepwatch_tests::{
    answer::{
        row::SocketLine,
        truth::{Comparison, compare},
    },
    kernel::population::Population,
};
use std::{collections::BTreeMap, error::Error, time::Duration};

#[test]
fn a_fault_in_one_offset_does_not_stay_hidden() {
    let population = Population::one_of_each();
    let mut types = hooks::types().expect("this kernel's types");
    let right = types.layout;
    let mut look = |layout| -> Result<Comparison, Box<dyn Error>> {
        types.layout = layout;
        let mut hooks = Hooks::load_with(Scope::Snapshot, &types)?;
        let mut rows = Err("not walked".into());
        let comparison = compare(&population.sockets, Duration::ZERO, || {
            rows = walk(&mut hooks);
            rows.as_ref().map_or_else(|_| Vec::new(), Clone::clone)
        });
        rows.map(|_| comparison)
    };
    look(right).expect("the true layout loads").assert_equal();

    macro_rules! with_fault {
        ($($field:ident $change:tt $by:literal,)*) => {$({
            let mut wrong = right;
            wrong.$field $change $by;
            let found = match look(wrong) {
                Ok(comparison) => comparison.differences.first().cloned(),
                Err(error) => Some(format!("refused: {error}")),
            };
            let fault = concat!(stringify!($field), " ", stringify!($change), " ", $by);
            assert!(found.is_some(), "nobody notices {fault}");
            eprintln!("{fault}: {}", found.unwrap_or_default());
        })*};
    }
    with_fault! {
        skc_state += 1,
        skc_family += 2,
        skc_dport += 2,
        skc_daddr += 4,
        skc_rcv_saddr -= 4,
        skc_v6_daddr += 16,
        inet_sport += 2,
        sock_keepopen += 1,
        keepalive_time += 4,
        keepalive_intvl -= 4,
        keepalive_probes += 1,
        icsk_user_timeout -= 4,
        icsk_probes_out += 1,
        rcv_tstamp += 4,
        lsndtime += 4,
        snd_una += 4,
        write_seq += 4,
        sk_max_ack_backlog -= 4,
        keepalive_timer += 40,
        timer_expires += 8,
        timer_pprev -= 8,
        net_inum += 4,
        net_idle += 4,
        net_interval -= 4,
        net_count += 1,
        task_tgid += 4,
        task_comm += 4,
        file_refs_alone += 1,
    }
    look(right).expect("the true layout loads").assert_equal();
}

/// What `keepwatch sockets --json --all` does, in this process.
fn walk(hooks: &mut Hooks) -> Result<Vec<SocketLine>, Box<dyn Error>> {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let policy = Surroundings { limits, host: host::addresses().into(), hz: clock::hz() };
    let row = |socket: &Socket, owners: &[Owner]| -> Result<SocketLine, serde_json::Error> {
        let row = row::Row::new(socket, owners, None, &policy, socket.at);
        serde_json::from_value(serde_json::to_value(row)?)
    };
    let mut rows = Vec::new();
    let mut shared: BTreeMap<SocketId, (Socket, Vec<Owner>)> = BTreeMap::new();
    let mut snapshot = hooks.snapshot()?;
    while snapshot.read(|event| {
        let Event::Seen(socket) = event else {
            return;
        };
        if socket.shared {
            let (_, owners) = shared.entry(socket.id).or_insert_with(|| (socket, Vec::new()));
            owners.extend(socket.owner);
        } else {
            rows.push(row(&socket, socket.owner.as_slice()));
        }
    })? {}
    rows.extend(shared.values().map(|(socket, owners)| row(socket, owners)));
    Ok(rows.into_iter().collect::<Result<_, _>>()?)
}
