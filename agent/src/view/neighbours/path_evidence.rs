//! What connections show of the path to a server: quiet times that others survived, and that killed others. Whoever
//! proposes values obeys it, and a connection whose probes come later is not called fine.

use super::{AtPeer, Neighbours, server};
use crate::{
    model::{
        judgement::{
            facts::ConnectionFacts as _,
            learned::LimitRow,
            learned_limit::Confidence,
            verdict::{N_LIMITS_WATCHED, Verdict},
        },
        observed::socket::Direction,
        text::{count::counted, duration::tenths},
    },
    view::{
        connection::{Connection, ms},
        connection_group::{ConnectionGroup, Peer},
        life::{Life, Suspicion},
    },
};
use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr};

/// A quiet time that killed a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DiedAfter {
    /// Seconds.
    pub(crate) quiet: f64,
    /// The process that had it.
    pub(crate) process: Option<String>,
    /// Others were answered meanwhile, or are since: it was no outage of the peer.
    pub(crate) is_alone: bool,
}

/// A quiet time after which connections got no answer any more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KilledAfter {
    /// Seconds.
    pub(crate) quiet: f64,
    /// What shows that, in words.
    pub(crate) shown_by: String,
}

/// What the connections to a server, and to other ports of its host, show of the path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PathEvidence {
    /// The longest time between probes that are answered, of those that are shorter than what killed, seconds.
    pub(crate) survived: Option<f64>,
    /// The shortest that killed: a shorter one is safe to obey.
    pub(crate) killed: Option<KilledAfter>,
    /// The same where nobody survived as much: the limit may be that.
    pub(crate) guess: Option<KilledAfter>,
}

impl Neighbours {
    /// What is known of the path of a connection from all connections there, by experience.
    pub(crate) fn evidence(&self, connection: &Connection) -> PathEvidence {
        let (at, host) = (self.peer_of(connection), self.host_of(connection));
        let of_server = at.and_then(|at| at.uncontradicted(false));
        let of_host = host.and_then(|host| host.uncontradicted(true));
        let guess = shortest(of_server.into_iter().chain(of_host));
        let killed = at.and_then(AtPeer::killed);
        let killed = shortest(killed.into_iter().chain(guess.clone()));
        // What probes show stays the same from one look to the next.
        let survived = killed.as_ref().and_then(|killed| {
            at?.probing.iter().map(|it| it.idle).find(|idle| *idle < killed.quiet)
        });
        PathEvidence { survived, killed, guess }
    }

    /// A quiet time that its own probes leave, and that killed others or lets them hang while the peer answers; nothing if
    /// its settings leave no such time, or if it went on after as much itself. `learned`: what was learned of its path.
    pub(crate) fn killed_sooner(
        &self,
        connection: &Connection,
        learned: Option<&LimitRow>,
    ) -> Option<KilledAfter> {
        let gap = connection.gap_seconds.filter(|_| connection.settings.keepalive)?;
        let learned = learned.filter(|it| is_worth_a_word(it)).map(|it| KilledAfter {
            quiet: it.shortest_killed_seconds,
            shown_by: it.meaning.clone(),
        });
        let guess = self.evidence(connection).guess;
        let killed = shortest(guess.into_iter().chain(learned))?;
        let longest = connection.longest_seen_quiet_seconds();
        let is_survived = connection.longest_quiet_seconds >= ABOUT * killed.quiet;
        // Something else keeps it, as long as that goes on.
        let is_busy = connection.watched_seconds >= f64::from(N_LIMITS_WATCHED) * killed.quiet
            && longest <= killed.quiet / 2.0;
        (gap > killed.quiet && !is_survived && !is_busy).then_some(killed)
    }

    /// What is to be feared for a connection that is well by the limit in force, or whose probe is not answered.
    pub(crate) fn suspicion(&self, life: &Life, learned: Option<&LimitRow>) -> Option<Suspicion> {
        let connection = &life.connection;
        if self.is_lost(life) {
            return Some(Suspicion::Lost);
        }
        let is_promised = connection.verdict == Some(Verdict::Protected) && life.end.is_none();
        if !is_promised || connection.direction() != Direction::Outbound || !connection.is_open() {
            return None;
        }
        let killed = self.killed_sooner(connection, learned)?;
        let at = self.peer_of(connection);
        let is_outage = |at: &AtPeer| at.silence.is_some_and(|silence| silence.is_outage);
        if [at, self.host_of(connection)].into_iter().flatten().any(is_outage) {
            return None;
        }
        let Some(since) = connection.probe_unanswered_seconds() else {
            return Some(Suspicion::ProbesTooLate);
        };
        // A single probe may be lost: where it came sooner than what killed, or nobody was heard since, that is all.
        if connection.silent_seconds - since < ABOUT * killed.quiet {
            return None;
        }
        let asked = life.read_at.unwrap_or(self.now) - since;
        let host = self.host_of(connection)?;
        let is_heard = host.witnesses.iter().any(|it| it.is_answer_to(asked));
        is_heard.then_some(Suspicion::Forgotten)
    }

    /// Whether a probe is not answered while others to the host get no answer either, and nobody was heard since it was sent: no
    /// single packet was lost.
    fn is_lost(&self, life: &Life) -> bool {
        let connection = &life.connection;
        let since = connection.probe_unanswered_seconds().filter(|_| life.end.is_none());
        let (Some(since), Some(host)) = (since, self.host_of(connection)) else { return false };
        let asked = life.read_at.unwrap_or(self.now) - since;
        connection.is_open()
            && (host.silence.is_some() || host.n_hanging() > 0)
            && !host.is_heard_since(asked)
    }

    /// Of clients, those of the host one of which hangs after the least quiet, else those of the case's example.
    pub(super) fn at(&self, case: &ConnectionGroup) -> Option<&AtPeer> {
        if let Some(server) = server(case) {
            return self.servers.get(&server);
        }
        let clients = case.live().filter_map(|life| self.peer_of(&life.connection));
        let hanging = clients.filter(|at| at.hung.is_some());
        hanging
            .min_by(|a, b| a.hung.partial_cmp(&b.hung).unwrap_or(Ordering::Equal))
            .or_else(|| self.peer_of(&case.example()?.connection))
    }

    /// All connections to the server, or from the client's host to the same port of ours.
    fn peer_of(&self, connection: &Connection) -> Option<&AtPeer> {
        let Connection { netns, local, remote, .. } = connection;
        match connection.direction() {
            Direction::Outbound => self.servers.get(&(*netns, *remote)),
            Direction::Inbound => self.clients.get(&(*netns, local.port(), remote.ip())),
        }
    }

    /// What is known of the path of a case; of clients, of that which killed soonest: one setting of the server is for all.
    pub(crate) fn evidence_of(&self, case: &ConnectionGroup) -> PathEvidence {
        let of = |life: &Life| self.evidence(&life.connection);
        let killed_after =
            |it: &PathEvidence| it.killed.as_ref().map_or(f64::INFINITY, |killed| killed.quiet);
        let all: Option<PathEvidence> = match case.key.peer {
            Peer::Server(_) => case.example().map(of),
            Peer::ClientsOf(_) => {
                let one_each: BTreeMap<IpAddr, &Life> =
                    case.lives.iter().map(|life| (life.connection.remote.ip(), life)).collect();
                let evidence = one_each.into_values().map(of);
                evidence.min_by(|a, b| killed_after(a).total_cmp(&killed_after(b)))
            }
        };
        all.unwrap_or_default()
    }

    fn host_of(&self, connection: &Connection) -> Option<&AtPeer> {
        let is_ours = connection.direction() == Direction::Outbound;
        self.hosts.get(&(connection.netns, connection.remote.ip())).filter(|_| is_ours)
    }
}

/// What is about as long as something else.
const ABOUT: f64 = 0.9;

/// Whether what was learned is more than what one outage explains.
const fn is_worth_a_word(learned: &LimitRow) -> bool {
    matches!(learned.confidence, Confidence::Likely | Confidence::Sure)
        || learned.deaths_singled_out > 0
}

fn shortest(all: impl Iterator<Item = KilledAfter>) -> Option<KilledAfter> {
    all.min_by(|a, b| a.quiet.total_cmp(&b.quiet))
}

impl AtPeer {
    /// The shortest quiet time that killed, or after which one hangs, if none that lives has survived about as much, and if
    /// others show that the peer was there. `is_of_host`: it is said of another port.
    fn uncontradicted(&self, is_of_host: bool) -> Option<KilledAfter> {
        let to = if is_of_host { "to the same host" } else { "to the same peer" };
        let hangs = self.guess.as_ref().filter(|guess| guess.is_heard).map(|guess| KilledAfter {
            quiet: guess.hangs_after,
            shown_by: format!(
                "{} {to} {} no answer any more after {} of quiet, while others {} answered",
                counted(guess.n_hanging, "connection"),
                if guess.n_hanging == 1 { "gets" } else { "get" },
                tenths(ms(guess.hangs_after)),
                if guess.heard_until.is_some() { "were" } else { "are" }
            ),
        });
        let is_survived =
            |quiet: f64| self.survived.is_some_and(|survived| survived >= ABOUT * quiet);
        let died = self.died_alone.as_ref().filter(|died| !is_survived(died.quiet));
        let died = died.map(|died| died.in_words(to));
        shortest(hangs.into_iter().chain(died))
    }

    /// The shortest quiet time that killed, or after which one hangs, whatever others survived.
    fn killed(&self) -> Option<KilledAfter> {
        let hung = self.hung.map(|quiet| KilledAfter {
            quiet,
            shown_by: format!(
                "a connection to the same peer gets no answer any more after {} of quiet",
                tenths(ms(quiet))
            ),
        });
        let died = self.died.as_ref().map(|died| died.in_words("to the same peer"));
        shortest(hung.into_iter().chain(died))
    }
}

impl DiedAfter {
    fn in_words(&self, to: &str) -> KilledAfter {
        let of = self.process.as_ref().map(|it| format!(" of {it}")).unwrap_or_default();
        let quiet = tenths(ms(self.quiet));
        KilledAfter {
            quiet: self.quiet,
            shown_by: format!("a connection{of} {to} died after {quiet} of quiet"),
        }
    }
}
