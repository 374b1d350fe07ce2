//! Others on a busy host: connections that come and go in a namespace of their own, as fast as threads
//! can make them, or as an agent can hear of them.

use crate::{
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan, Road, SocketOption},
    },
    wait,
};
use rustix::net::sockopt::set_socket_linger;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Threads that make connections until this is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    n_made: Arc<AtomicU64>,
    began: Instant,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Starts `n_threads` threads. Each connection is six events or more: one setsockopt call, its changes of
    /// state at both ends, and their ends.
    pub fn start(n_threads: usize) -> Self {
        Self::with_rests(n_threads, Duration::ZERO)
    }

    /// The same by one thread that rests after each connection: an agent, and one built for tests, hears of all.
    pub fn that_rests(rest: Duration) -> Self {
        Self::with_rests(1, rest)
    }

    fn with_rests(n_threads: usize, rest: Duration) -> Self {
        let (stop, n_made) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let thread = |_| {
            let (stop, n_made) = (Arc::clone(&stop), Arc::clone(&n_made));
            thread::spawn(move || {
                NetworkNamespace::new().run(|| connect_until(&stop, &n_made, rest));
            })
        };
        let threads = (0..n_threads).map(thread).collect();
        let flood = Self { stop, n_made, began: wait::now(), threads };
        flood.wait_for(1000);
        flood
    }

    /// Waits until `n_more` more connections were made.
    #[track_caller]
    pub fn wait_for(&self, n_more: u64) {
        let enough = self.n_made() + n_more;
        let made = || (self.n_made() >= enough).then_some(());
        wait::until(format!("{n_more} connections of others"), Duration::from_mins(1), made);
    }

    /// Connections that were made and closed so far.
    pub fn n_made(&self) -> u64 {
        self.n_made.load(Ordering::Relaxed)
    }

    /// Connections a second, since it began.
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "for people")]
    pub fn rate(&self) -> f64 {
        self.n_made() as f64 / self.began.elapsed().as_secs_f64()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing is waited for: this is the pace of others")]
fn pause(rest: Duration) {
    if !rest.is_zero() {
        thread::sleep(rest);
    }
}

fn connect_until(stop: &AtomicBool, n_made: &AtomicU64, rest: Duration) {
    let family = Family::V4;
    let listener = socket::listener(family, family.loopback(), 128, &Plan::NOTHING);
    let address = socket::local_address(&listener);
    while !stop.load(Ordering::Relaxed) {
        let client = socket::unconnected(family, &Plan::NOTHING);
        Road::Call.set(&client, SocketOption::Keepalive, 1);
        rustix::net::connect(&client, &address).expect("connect on loopback");
        let server = socket::accepted(&listener);
        // A reset leaves no TIME_WAIT behind, which would use up the ports.
        set_socket_linger(&client, Some(Duration::ZERO)).expect("SO_LINGER");
        drop(client);
        drop(server);
        n_made.fetch_add(1, Ordering::Relaxed);
        pause(rest);
    }
}
