//! What the kernel does not tell is found out. Here hooks run on a true kernel and tell no change of
//! state: they look for the protocol in the wrong place, and take every socket for none of TCP.

use keepwatch::tested::{
    Resolver, clock,
    hooks::{self, Hooks, Interest, LogLevel, Mechanism, Scope},
    host,
    judgement::{
        death::Cause,
        idle_limit::{IdleLimit, Limits},
        verdict::Surroundings,
    },
    observed::{ending::Discovery, socket::Endpoint},
    table::{
        Bounds, Table,
        happening::{Happened, News},
        sums::Totals,
    },
    watch::{Audience, HookSight, Watch},
};
use keepwatch_tests::{
    answer::trace::mechanism,
    kernel::socket::Plan,
    network::{
        ending,
        path::{Ends, NetworkPath},
    },
    skip::skip,
    wait::{StopAtEnd, until},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn deaths_that_no_hook_tells_are_found_by_walks_and_counted() {
    let mut types = hooks::types().expect("this kernel's types");
    if types.layout.has_sock_from_file == 0 {
        skip("walks that do not look at the protocol", "as those of this kernel do");
        return;
    }
    types.layout.sk_protocol -= 2;
    let mechanism = match mechanism().as_str() {
        "fentry" => Mechanism::Fentry,
        "kprobe" => Mechanism::Kprobe,
        "tracepoint" => Mechanism::Tracepoint,
        _ => Mechanism::Auto,
    };
    let interest = Interest::default();
    let scope = Scope::Events { ring_bytes: 1 << 20, mechanism, interest, log: LogLevel::Off };
    let hooks = Hooks::load_with(scope, &types).expect("the hooks load");
    let sight = HookSight::new(hooks, Vec::new()).expect("the ring");
    let told = WatchedDeaths::default();
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let surroundings = Surroundings { limits, host: host::addresses().into(), hz: clock::hz() };
    let table = Arc::new(Mutex::new(Table::new(surroundings, Bounds::new(100_000, 1000))));
    let resolver = Resolver::new("/proc".as_ref(), "/".as_ref(), 100).expect("/proc");
    let interval = Duration::from_secs(1);
    let mut watch =
        Watch::new(Box::new(sight), Arc::clone(&table), told.clone(), resolver, interval);
    watch.walk().expect("the first walk");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| watch.run(&stop));
        let _stop = StopAtEnd(&stop);
        let path = NetworkPath::cable();
        let dies = path.connect(&Plan::keepalive(1, 1, 2));
        let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
        let lives = path.connect(&Plan::NOTHING);
        let is_met = |local: SocketAddr| {
            let mut is_met = false;
            locked(&table).scan(
                0,
                u32::MAX,
                |_| true,
                |socket, _, _| {
                    is_met |=
                        socket.local.socket_addr() == local && socket.netns == path.near.inode();
                },
            );
            is_met
        };
        until("a walk has met them", SOON, || {
            [dies.local, local, lives.local].into_iter().all(is_met).then_some(())
        });

        drop((client, accepted));
        assert_eq!(told.wait_for_death_of(local), (Cause::Unknown, Discovery::Freed));
        path.darken();
        assert!(ending::error_at_end(&dies.client).is_some());
        assert_eq!(
            told.wait_for_death_of(dies.local),
            (Cause::KeepaliveTimeout, Discovery::Closed)
        );
        let n_unseen = || locked(&table).n_unseen();
        assert!(n_unseen() >= 2, "{}", n_unseen());
        assert_eq!(told.deaths_of(lives.local), []);
        assert!(!watching.is_finished());
    });
}

/// All that the watcher passes on.
#[derive(Clone, Default)]
struct WatchedDeaths(Arc<Mutex<Vec<(Endpoint, Cause, Discovery)>>>);

impl WatchedDeaths {
    fn deaths_of(&self, local: SocketAddr) -> Vec<(Cause, Discovery)> {
        let of = |(address, cause, found): &(Endpoint, Cause, Discovery)| {
            (address.socket_addr() == local).then_some((*cause, *found))
        };
        locked(&self.0).iter().filter_map(of).collect()
    }

    #[track_caller]
    fn wait_for_death_of(&self, local: SocketAddr) -> (Cause, Discovery) {
        until(format!("the death of {local}"), SOON, || self.deaths_of(local).pop())
    }
}

impl Audience for WatchedDeaths {
    fn news(&mut self, news: News) {
        let mut told = locked(&self.0);
        for happening in news.happenings {
            if let Happened::Died(death) = happening.what {
                told.push((happening.socket.local, death.cause, death.ending.found));
            }
        }
    }

    fn totals(&mut self, _: Totals) {}
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
