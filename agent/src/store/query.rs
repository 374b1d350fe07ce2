//! What somebody wants to know of the past.

use crate::model::judgement::{death::Cause, worth::Worth};
use ipnet::IpNet;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// Every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Not before this Unix time, seconds.
    pub since: Option<f64>,
    /// Before this Unix time, seconds.
    pub until: Option<f64>,
    /// Peers in this network.
    #[serde(deserialize_with = "network")]
    pub peer: Option<IpNet>,
    /// This port on either end.
    pub port: Option<u16>,
    /// The socket with this id, like `sk:1f`.
    pub id: Option<String>,
    /// Of the process with this id.
    pub pid: Option<u32>,
    /// Of processes with this name (the kernel's 15 bytes).
    pub process: Option<String>,
    /// In the network namespace with this inode number.
    pub netns: Option<u32>,
    /// Of this systemd unit.
    pub unit: Option<String>,
    /// Of the container with this name or id (12 digits of it are enough).
    pub container: Option<String>,
    /// Of this Kubernetes namespace.
    pub namespace: Option<String>,
    /// Of this Kubernetes workload or service.
    pub workload: Option<String>,
    /// Of this Kubernetes pod.
    pub pod: Option<String>,
    /// Deaths of this cause.
    pub cause: Option<Cause>,
    /// Deaths of this worth.
    pub worth: Option<Worth>,
    /// At most this number of deaths, the latest.
    pub limit: Option<u32>,
}

/// An address or a network.
fn network<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(Some).map_err(|_| {
        serde::de::Error::custom("expected an address or a network, like 10.0.0.0/8 or 2001:db8::1")
    })
}

/// An address as the history orders it.
pub(super) const fn key(addr: Ipv6Addr) -> [u8; 16] {
    addr.octets()
}

fn bounds(net: IpNet) -> (Vec<u8>, Vec<u8>) {
    let key = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => key(v4.to_ipv6_mapped()).to_vec(),
        IpAddr::V6(v6) => key(v6).to_vec(),
    };
    (key(net.network()), key(net.broadcast()))
}

/// Nanoseconds of seconds, as far as they fit.
pub(super) fn nanos(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let nanos = (seconds * 1e9) as i64;
    nanos
}

/// A question in SQL.
#[derive(Debug, Default)]
struct Clause {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Clause {
    fn add(&mut self, condition: &str, given: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(given);
    }
}

impl Query {
    /// The ids of the deaths, the latest first, without their number's limit: `FROM ... WHERE ...` with its values.
    pub(super) fn clause(&self) -> (String, Vec<Value>) {
        let mut clause = Clause::default();
        if let Some(net) = self.peer {
            let (first, last) = bounds(net);
            clause.add("remote_key BETWEEN ? AND ?", [first.into(), last.into()]);
        }
        if let Some(since) = self.since {
            clause.add("at_ns >= ?", [nanos(since).into()]);
        }
        if let Some(until) = self.until {
            clause.add("at_ns < ?", [nanos(until).into()]);
        }
        if let Some(port) = self.port {
            let port = i64::from(port);
            clause.add("(local_port = ? OR remote_port = ?)", [port.into(), port.into()]);
        }
        if let Some(netns) = self.netns {
            clause.add("netns = ?", [i64::from(netns).into()]);
        }
        if let Some(pid) = self.pid {
            clause.add("pid = ?", [i64::from(pid).into()]);
        }
        if let Some(id) = &self.id {
            clause.add("socket = ?", [id.clone().into()]);
        }
        if let Some(cause) = self.cause {
            clause.add("cause = ?", [cause.as_str().to_owned().into()]);
        }
        // A cause has one worth: saying it spares a look at all others.
        if let Some(worth) = self.worth.or(self.cause.map(Cause::worth)) {
            clause.add("worth = ?", [i64::from(worth as u8).into()]);
        }
        let owner = self.owner();
        let is_owned = !owner.conditions.is_empty();
        if is_owned {
            let conditions = owner.conditions.join(" AND ");
            clause
                .add(&format!("owner IN (SELECT id FROM owners WHERE {conditions})"), owner.values);
        }
        let Clause { mut conditions, values } = clause;
        if conditions.is_empty() {
            conditions.push("1".to_owned());
        }
        let index = self.index(is_owned);
        (format!("FROM deaths INDEXED BY {index} WHERE {}", conditions.join(" AND ")), values)
    }

    /// What admits the least, most probably: SQLite would take the order of time for the best of all.
    fn index(&self, is_owned: bool) -> &'static str {
        match self {
            Self { id: Some(_), .. } => "deaths_by_socket",
            Self { pid: Some(_), .. } => "deaths_by_pid",
            // Of a large network the latest are found soonest among the latest of all.
            Self { peer: Some(net), .. } if net.prefix_len() > net.max_prefix_len() / 2 => {
                "deaths_by_peer"
            }
            _ if is_owned => "deaths_by_owner",
            _ => "deaths_by_time",
        }
    }

    /// What is asked of the owner.
    fn owner(&self) -> Clause {
        let mut clause = Clause::default();
        if let Some(name) = &self.process {
            // The kernel cuts names to 15 bytes; the whole name matches the cut one.
            let cut = name.get(..15).unwrap_or(name).to_owned();
            clause.add("process IN (?, ?)", [name.clone().into(), cut.into()]);
        }
        if let Some(name) = &self.container {
            let twelve = (name.len() >= 12).then(|| name.clone());
            clause.add(
                "(container = ? OR substr(container_id, 1, length(?)) = ?)",
                [name.clone().into(), twelve.clone().into(), twelve.into()],
            );
        }
        let names = [
            ("unit = ?", &self.unit),
            ("namespace = ?", &self.namespace),
            ("workload = ?", &self.workload),
            ("pod = ?", &self.pod),
        ];
        for (condition, name) in names {
            if let Some(name) = name {
                clause.add(condition, [name.clone().into()]);
            }
        }
        clause
    }
}
