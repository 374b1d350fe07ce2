//! What the kernel does not tell is found out. Here hooks run on a true kernel and tell no change of
//! state: they look for the protocol in the wrong place, and take every socket for none of TCP.

use keepwatch::{
    agent::watch::{Audience, News, Watch},
    kernel::{
        clock,
        hooks::{self, Hooks, Interest, LogLevel, Mechanism, Scope},
        host,
    },
    model::{
        death::{Cause, Found},
        filter::Filter,
        limit::{IdleLimit, Limits},
        moment::What,
        snapshot::Snapshot,
        socket::Endpoint,
        table::{Bounds, Table},
        verdict::Policy,
    },
    owner::Resolver,
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
    let told = WatchedDeaths::default();
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let policy = Policy { limits, host: host::addresses(), hz: clock::hz() };
    let table = Arc::new(Mutex::new(Table::new(policy, Bounds::new(100_000, 1000))));
    let resolver = Resolver::new("/proc".as_ref(), "/".as_ref(), 100).expect("/proc");
    let interval = Duration::from_secs(1);
    let mut watch =
        Watch::new(hooks, Arc::clone(&table), told.clone(), resolver, interval).expect("a watcher");
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
            let rows = locked(&table).rows(&Filter::default(), clock::now(), 0, u32::MAX).0;
            rows.iter().any(|row| row.local == local && row.netns == path.near.inode())
        };
        until("a walk has met them", SOON, || {
            [dies.local, local, lives.local].into_iter().all(is_met).then_some(())
        });

        drop((client, accepted));
        assert_eq!(told.wait_for_death_of(local), (Cause::Unknown, Found::Freed));
        path.darken();
        assert!(ending::error_at_end(&dies.client).is_some());
        assert_eq!(told.wait_for_death_of(dies.local), (Cause::Unknown, Found::Closed));
        let n_unseen = || locked(&table).n_unseen();
        assert!(n_unseen() >= 2, "{}", n_unseen());
        assert_eq!(told.deaths_of(lives.local), []);
        assert!(!watching.is_finished());
    });
}

/// All that the watcher passes on.
#[derive(Clone, Default)]
struct WatchedDeaths(Arc<Mutex<Vec<(Endpoint, Cause, Found)>>>);

impl WatchedDeaths {
    fn deaths_of(&self, local: SocketAddr) -> Vec<(Cause, Found)> {
        let of = |(address, cause, found): &(Endpoint, Cause, Found)| {
            (address.socket_addr() == local).then_some((*cause, *found))
        };
        locked(&self.0).iter().filter_map(of).collect()
    }

    #[track_caller]
    fn wait_for_death_of(&self, local: SocketAddr) -> (Cause, Found) {
        until(format!("the death of {local}"), SOON, || self.deaths_of(local).pop())
    }
}

impl Audience for WatchedDeaths {
    fn news(&mut self, news: News) {
        let mut told = locked(&self.0);
        for moment in news.moments {
            if let What::Died(death) = moment.what {
                told.push((moment.socket.local, death.cause, death.ending.found));
            }
        }
    }

    fn picture(&mut self, _: Snapshot) {}
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
