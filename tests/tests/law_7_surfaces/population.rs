//! Connections in every state that judgements know.

use keepwatch_tests::{
    kernel::socket::{self, Family, Plan, Road, SocketOption},
    network::{
        ending::exchange,
        path::{Ends, NetworkPath},
    },
    wait,
};
use std::{env, fs, os::fd::OwnedFd, time::Duration};

/// Long enough that what is kept by a packet a second is never quiet for half of it.
pub(crate) const LIMIT_SECONDS: u32 = 6;
pub(crate) const PATH_NAME: &str = "law7";
pub(crate) const PATH: &str = "law7=10.77.0.0/16=6s";
/// Of each kind.
const MOST: u64 = 4;
const BACKLOG: i32 = 16;
const SOON: Duration = Duration::from_secs(30);
/// Between two words on a connection that talks.
const PAUSE: Duration = Duration::from_millis(500);

/// What a client's end is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Protected,
    Off,
    Late,
    KeptByProbes,
    KeptByTraffic,
    Stuck,
    PeerSilent,
    PeerClosed,
    Local,
}

impl Fate {
    pub(crate) const ALL: [Self; 9] = [
        Self::Protected,
        Self::Off,
        Self::Late,
        Self::KeptByProbes,
        Self::KeptByTraffic,
        Self::Stuck,
        Self::PeerSilent,
        Self::PeerClosed,
        Self::Local,
    ];

    /// The verdict and the condition that follow.
    pub(crate) const fn truth(self) -> (&'static str, &'static str) {
        match self {
            Self::Protected => ("protected", "fine"),
            Self::Off => ("off", "overdue"),
            Self::Late => ("late", "overdue"),
            Self::KeptByProbes | Self::KeptByTraffic => ("kept", "fine"),
            Self::Stuck => ("off", "stuck"),
            Self::PeerSilent => ("protected", "peer_silent"),
            Self::PeerClosed => ("off", "peer_closed"),
            Self::Local => ("local", "fine"),
        }
    }

    const fn is_in_the_dark(self) -> bool {
        matches!(self, Self::Stuck | Self::PeerSilent)
    }
}

/// Random numbers that can be had again: `KEEPWATCH_SEED`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn new() -> Self {
        let given = env::var("KEEPWATCH_SEED").ok().and_then(|seed| seed.parse().ok());
        let random = || {
            let id = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
            u64::from_str_radix(id.split('-').next().unwrap(), 16).unwrap()
        };
        Self(given.unwrap_or_else(random).max(1))
    }

    /// From `from` up to `to`.
    const fn between(&mut self, from: u64, to: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from + 1)
    }
}

/// A connection, both ends held by this process.
#[derive(Debug)]
pub(crate) struct FatedConnection {
    pub(crate) kind: Fate,
    pub(crate) id: String,
    pub(crate) ends: Ends,
}

#[derive(Debug)]
pub(crate) struct EveryCondition {
    light: NetworkPath,
    dark: NetworkPath,
    pub(crate) connections: Vec<FatedConnection>,
    /// Ends whose other end died: they stay open.
    pub(crate) held: Vec<OwnedFd>,
    pub(crate) seed: Seed,
}

/// Connections on which something is said all the time.
pub(crate) struct Talking(Vec<(OwnedFd, OwnedFd)>);

impl Talking {
    pub(crate) fn go_on_until(&self, is_over: impl Fn() -> bool) {
        while !is_over() {
            self.0.iter().for_each(|(near, far)| exchange(near, far));
            wait::within(PAUSE, || is_over().then_some(()));
        }
    }
}

impl EveryCondition {
    pub(crate) fn new(mut seed: Seed) -> Self {
        let mut kinds: Vec<Fate> = Vec::new();
        for kind in Fate::ALL {
            kinds.extend((0..seed.between(1, MOST)).map(|_| kind));
        }
        for at in (1..kinds.len()).rev() {
            let other = usize::try_from(seed.between(0, at.try_into().unwrap())).unwrap();
            kinds.swap(at, other);
        }
        let (light, dark) = (NetworkPath::cable(), NetworkPath::cable());
        let mut population = Self { light, dark, connections: Vec::new(), held: Vec::new(), seed };
        for kind in kinds {
            let connection = population.connect(kind);
            population.connections.push(connection);
        }
        population
    }

    pub(crate) const fn light(&self) -> &NetworkPath {
        &self.light
    }

    pub(crate) const fn dark(&self) -> &NetworkPath {
        &self.dark
    }

    fn connect(&mut self, kind: Fate) -> FatedConnection {
        let mut seconds = |from, to| u32::try_from(self.seed.between(from, to)).unwrap();
        let plan = match kind {
            Fate::Protected | Fate::PeerSilent => {
                // Each second: with two, and a walk that comes late, the other end would be `kept` at one moment and not at the next.
                Plan::keepalive(1, 1, seconds(90, 120))
            }
            Fate::Late => Plan::keepalive(seconds(60, 7200), seconds(1, 75), seconds(1, 9)),
            Fate::Local if seconds(0, 1) == 1 => Plan::keepalive(seconds(1, 7200), 10, 3),
            _ => Plan::NOTHING,
        };
        let ends = if kind == Fate::Local {
            self.light.near.run(|| {
                let listener =
                    socket::listener(Family::V4, Family::V4.loopback(), BACKLOG, &Plan::NOTHING);
                let address = socket::local_address(&listener);
                let client = socket::connected(Family::V4, address, &plan);
                let local = socket::local_address(&client);
                Ends { client, accepted: socket::accepted(&listener), local }
            })
        } else if kind.is_in_the_dark() {
            self.dark.connect(&plan)
        } else {
            self.light.connect(&plan)
        };
        match kind {
            Fate::KeptByProbes => {
                for option in
                    [SocketOption::KeepIdle, SocketOption::KeepIntvl, SocketOption::Keepalive]
                {
                    Road::Call.set(&ends.accepted, option, 1);
                }
            }
            Fate::PeerClosed => {
                socket::end_sending(&ends.accepted);
                socket::wait_for_state(&ends.client, socket::CLOSE_WAIT, SOON);
            }
            _ => {}
        }
        FatedConnection { kind, id: socket::id(&ends.client), ends }
    }

    /// The peer of the dark path falls silent; then some have something to say.
    pub(crate) fn darken(&self) {
        self.dark.darken();
        for stuck in self.connections.iter().filter(|one| one.kind == Fate::Stuck) {
            socket::send(&stuck.ends.client, b"are you there?");
        }
    }

    /// The clients' ends, and what each is to become.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, Fate)> {
        self.connections.iter().map(|one| (one.id.as_str(), one.kind))
    }

    pub(crate) fn talking(&self) -> Talking {
        let talking = self.connections.iter().filter(|one| one.kind == Fate::KeptByTraffic);
        let duplicate = |fd: &OwnedFd| fd.try_clone().unwrap();
        Talking(
            talking
                .map(|one| (duplicate(&one.ends.client), duplicate(&one.ends.accepted)))
                .collect(),
        )
    }
}
