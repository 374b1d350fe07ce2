//! Idle limits that a command brings along: an agent measures by them, for this one question, in place of its own.

use super::{
    idle_limit::{ConfiguredPath, IdleLimit, Limits},
    preset::PRESETS,
    verdict::Surroundings,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What the command line gives; what it leaves out stays as the agent has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GivenLimits {
    /// The idle limit of paths that are not configured.
    pub idle_limit: Option<GivenLimit>,
    /// The configured paths.
    pub paths: Option<Vec<GivenPath>>,
}

/// A limit: a time, and the preset that it was given as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenLimit {
    /// Seconds, at least 1.
    pub seconds: u32,
    /// The name of a preset.
    #[serde(default)]
    pub preset: Option<String>,
}

/// A path with its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenPath {
    /// What to call it.
    pub name: String,
    /// The network of the peers behind it.
    pub peers: IpNet,
    /// Only this port of theirs.
    #[serde(default)]
    pub port: Option<u16>,
    /// How long it keeps a quiet connection.
    #[serde(flatten)]
    pub limit: GivenLimit,
}

impl From<IdleLimit> for GivenLimit {
    fn from(IdleLimit { seconds, preset }: IdleLimit) -> Self {
        Self { seconds, preset: preset.map(str::to_owned) }
    }
}

impl From<&GivenLimit> for IdleLimit {
    fn from(GivenLimit { seconds, preset }: &GivenLimit) -> Self {
        let known = PRESETS.iter().find(|known| Some(known.name) == preset.as_deref());
        Self { seconds: (*seconds).max(1), preset: known.map(|known| known.name) }
    }
}

impl From<&ConfiguredPath> for GivenPath {
    fn from(ConfiguredPath { name, peers, port, limit }: &ConfiguredPath) -> Self {
        Self { name: name.clone(), peers: *peers, port: *port, limit: (*limit).into() }
    }
}

impl From<&GivenPath> for ConfiguredPath {
    fn from(GivenPath { name, peers, port, limit }: &GivenPath) -> Self {
        Self { name: name.clone(), peers: *peers, port: *port, limit: limit.into() }
    }
}

impl GivenLimits {
    /// The same surroundings with these limits.
    pub fn in_place_of(&self, of_agent: &Surroundings) -> Surroundings {
        let paths = self.paths.as_ref().map(|paths| paths.iter().map(Into::into).collect());
        let limits: Limits =
            of_agent.limits.with_given(self.idle_limit.as_ref().map(Into::into), paths);
        Surroundings { limits, ..of_agent.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            destination::Destination,
            learned_limit::{Confidence, LearnedLimit},
            limit_source::GivenBy,
        },
        observed::socket::{Socket, tests_support::socket},
    };
    use std::net::SocketAddr;

    fn path(name: &str, peers: &str, seconds: u32) -> ConfiguredPath {
        let limit = IdleLimit { seconds, preset: None };
        ConfiguredPath { name: name.to_owned(), peers: peers.parse().unwrap(), port: None, limit }
    }

    /// An agent with a path, that learned something of one destination.
    fn of_agent() -> Surroundings {
        let limits = Limits::new(vec![path("db", "10.0.0.0/8", 900)], IdleLimit::default(), false)
            .given_by(None, Some(GivenBy::ConfigFile));
        let taught: Destination = "192.0.2.1:80".parse().unwrap();
        let sure = LearnedLimit { seconds: 60, kept_seconds: 30, confidence: Confidence::Sure };
        let home = Some(socket().netns);
        let limits = limits.with_learned([(taught, sure)].into(), home).unwrap();
        Surroundings::new(limits, 250)
    }

    fn limit_of(around: &Surroundings, remote: &str) -> String {
        let remote = remote.parse::<SocketAddr>().unwrap().into();
        let applied = around.limits.of(&Socket { remote, ..socket() });
        format!("{} {} {:?}", applied.seconds, applied.from, applied.path.as_deref())
    }

    fn measured(given: &GivenLimits) -> [String; 3] {
        let wire = serde_json::to_string(given).unwrap();
        let around = serde_json::from_str::<GivenLimits>(&wire).unwrap().in_place_of(&of_agent());
        ["10.0.0.9:1", "192.0.2.1:80", "198.51.100.1:80"].map(|remote| limit_of(&around, remote))
    }

    #[test]
    fn what_is_given_counts_and_what_is_not_stays_as_the_agent_has_it() {
        let nothing = measured(&GivenLimits::default());
        assert_eq!(
            nothing,
            ["900 configured by config file Some(\"db\")", "60 learned None", "350 default None"]
        );
        let azure = IdleLimit { seconds: 240, preset: Some("azure") };
        let idle_limit = GivenLimits { idle_limit: Some(azure.into()), paths: None };
        let azure = "240 preset azure by flag None";
        assert_eq!(measured(&idle_limit), [nothing[0].as_str(), azure, azure]);
        let paths = vec![GivenPath::from(&path("web", "192.0.2.0/24", 30))];
        let paths = GivenLimits { paths: Some(paths), idle_limit: None };
        assert_eq!(
            measured(&paths),
            ["350 default None", "30 configured by flag Some(\"web\")", "350 default None"]
        );
    }
}
