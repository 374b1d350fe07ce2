//! What somebody wants to know of the past.

use crate::model::judgement::death::Cause;
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
fn nanos(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let nanos = (seconds * 1e9) as i64;
    nanos
}

impl Query {
    /// `WHERE ... ORDER BY ... LIMIT ...` with its values, for the table of deaths.
    pub(super) fn clause(&self) -> (String, Vec<Value>) {
        let mut conditions: Vec<&str> = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        let mut add = |condition: &'static str, given: Vec<Value>| {
            conditions.push(condition);
            values.extend(given);
        };
        if let Some(net) = self.peer {
            let (first, last) = bounds(net);
            add("remote_key BETWEEN ? AND ?", vec![first.into(), last.into()]);
        }
        if let Some(since) = self.since {
            add("at_ns >= ?", vec![nanos(since).into()]);
        }
        if let Some(until) = self.until {
            add("at_ns < ?", vec![nanos(until).into()]);
        }
        if let Some(port) = self.port {
            let port = i64::from(port);
            add("(local_port = ? OR remote_port = ?)", vec![port.into(), port.into()]);
        }
        if let Some(netns) = self.netns {
            add("netns = ?", vec![i64::from(netns).into()]);
        }
        if let Some(pid) = self.pid {
            add("pid = ?", vec![i64::from(pid).into()]);
        }
        if let Some(name) = &self.process {
            // The kernel cuts names to 15 bytes; the whole name matches the cut one.
            let cut = name.get(..15).unwrap_or(name).to_owned();
            add("process IN (?, ?)", vec![name.clone().into(), cut.into()]);
        }
        if let Some(name) = &self.container {
            let twelve = (name.len() >= 12).then(|| name.clone());
            add(
                "(container = ? OR substr(container_id, 1, length(?)) = ?)",
                vec![name.clone().into(), twelve.clone().into(), twelve.into()],
            );
        }
        let names = [
            ("socket = ?", &self.id),
            ("unit = ?", &self.unit),
            ("namespace = ?", &self.namespace),
            ("workload = ?", &self.workload),
            ("pod = ?", &self.pod),
        ];
        for (condition, name) in names {
            if let Some(name) = name {
                add(condition, vec![name.clone().into()]);
            }
        }
        if let Some(cause) = self.cause {
            add("cause = ?", vec![cause.as_str().to_owned().into()]);
        }
        let mut clause = String::new();
        if !conditions.is_empty() {
            clause = format!(" WHERE {}", conditions.join(" AND "));
        }
        clause += " ORDER BY at_ns DESC, id DESC LIMIT ?";
        values.push(self.limit.map_or(-1, i64::from).into());
        (clause, values)
    }
}
