//! What one system call costs: the least of many short windows, so that what disturbs most of them
//! does not matter.

use keepwatch_tests::{
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    wait,
};
use rustix::{
    net::sockopt::set_socket_keepalive,
    process::getppid,
    thread::{CpuSet, sched_setaffinity},
};
use std::{hint::black_box, net::SocketAddr, os::fd::OwnedFd, time::Duration};

/// The system call that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MeasuredCall {
    /// Stands for every system call that no hook is about.
    Getppid,
    /// On an established connection.
    Setsockopt,
    /// connect, accept, and close of both ends: the client first.
    Connection,
}

impl MeasuredCall {
    pub(crate) const ALL: [Self; 3] = [Self::Getppid, Self::Setsockopt, Self::Connection];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Setsockopt => "setsockopt",
            Self::Connection => "connect+close",
        }
    }

    /// Calls in a window: half a millisecond or so.
    const fn n_calls(self) -> u32 {
        match self {
            Self::Getppid => 4_000,
            Self::Setsockopt => 1_000,
            Self::Connection => 25,
        }
    }
}

/// Nanoseconds a call, in the order of [`MeasuredCall::ALL`].
pub(crate) type Nanoseconds = [f64; MeasuredCall::ALL.len()];

/// Slower than any measurement.
pub(crate) const NOTHING: Nanoseconds = [f64::INFINITY; MeasuredCall::ALL.len()];

/// The less of each.
pub(crate) fn least(mut so_far: Nanoseconds, calls: Nanoseconds) -> Nanoseconds {
    so_far.iter_mut().zip(calls).for_each(|(least, call)| *least = least.min(call));
    so_far
}

/// This thread runs on the second CPU from now on: the first one takes more interrupts.
pub(crate) fn stay_on_one_cpu() {
    let mut cpus = CpuSet::new();
    cpus.set(1);
    sched_setaffinity(None, &cpus).expect("a second CPU");
}

/// Calls are made here: one listener, one connection.
pub(crate) struct Caller {
    listener: OwnedFd,
    address: SocketAddr,
    client: OwnedFd,
    _server: OwnedFd,
}

impl Caller {
    pub(crate) fn new(netns: &NetworkNamespace) -> Self {
        netns.run(|| {
            let family = Family::V4;
            let listener = socket::listener(family, family.loopback(), 128, &Plan::NOTHING);
            let address = socket::local_address(&listener);
            let client = socket::connected(family, address, &Plan::NOTHING);
            let server = socket::accepted(&listener);
            Self { listener, address, client, _server: server }
        })
    }

    /// The address and port of the listener.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_keepalive(&self) {
        set_socket_keepalive(&self.client, true).expect("SO_KEEPALIVE");
    }

    pub(crate) fn connect_and_close(&self) {
        let client = socket::connected(Family::V4, self.address, &Plan::NOTHING);
        let server = socket::accepted(&self.listener);
        drop(client);
        drop(server);
    }

    /// The fastest of `n_windows` windows of each call, after one to warm up. Between them is a rest, in
    /// which readers of events may catch up.
    pub(crate) fn measure(&self, netns: &NetworkNamespace, n_windows: u32) -> Nanoseconds {
        const REST: Duration = Duration::from_millis(5);
        netns.run(|| {
            stay_on_one_cpu();
            self.windows();
            (0..n_windows).fold(NOTHING, |so_far, _| {
                let _: Option<()> = wait::within(REST, || None);
                least(so_far, self.windows())
            })
        })
    }

    fn windows(&self) -> Nanoseconds {
        MeasuredCall::ALL.map(|call| {
            let n_calls = call.n_calls();
            let began = wait::now();
            for _ in 0..n_calls {
                match call {
                    MeasuredCall::Getppid => {
                        black_box(getppid());
                    }
                    MeasuredCall::Setsockopt => self.set_keepalive(),
                    MeasuredCall::Connection => self.connect_and_close(),
                }
            }
            began.elapsed().as_secs_f64() * 1e9 / f64::from(n_calls)
        })
    }
}
