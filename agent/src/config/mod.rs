//! Options: one definition each, as a flag. Its `KEEPWATCH_*` variable, its key in the config file,
//! its help and its documentation follow from that.
//!
//! A key of the file is the flag's name with `_` for `-`. What is given nearer wins: flag, variable,
//! file, default.

mod carried;
mod error;
mod file;
mod idle_limit;
mod misspelt;
mod moment;
mod reload_health;
mod toml_error;
pub(crate) mod web;

pub(crate) use carried::{CarriedOptions, owner_word};
pub(crate) use error::Error;
#[cfg(any(fuzzing, test))]
pub(crate) use file::with_defaults;
pub(crate) use file::{MAX_BYTES, configured, keys, scalar};
use idle_limit::contradiction;
pub(crate) use idle_limit::{idle_limit, network_path};
#[cfg(test)]
pub(crate) use misspelt::{OF_TESTS, known_variables};
pub(crate) use misspelt::{misspelt_here, warn_of_misspelt};
pub(crate) use moment::{TypedTime, moment};
pub(crate) use reload_health::{ReloadHealth, ReloadOutcome, Reloads};
pub(crate) use toml_error::TomlFile;

pub(crate) use crate::model::text::typed_duration::{duration, whole_seconds};

use crate::{
    kernel::hooks::{LogLevel, Mechanism},
    log,
    model::judgement::{
        given_limits::GivenLimits,
        idle_limit::{ConfiguredPath, IdleLimit, Limits},
        limit_source::GivenBy,
        verdict::Surroundings,
    },
    owner::Resolver,
};
use clap::{
    ArgMatches, Args,
    builder::{PathBufValueParser, TypedValueParser},
    parser::ValueSource,
};
use std::path::{Path, PathBuf};

/// Where the config is looked for when nobody says where.
pub(crate) const DEFAULT_FILE: &str = "/etc/keepwatch/config.toml";

/// Where the agent's API socket is when nobody says where.
const DEFAULT_SOCKET: &str = "/run/keepwatch/keepwatch.sock";
/// Where the history is when nobody says where.
const DEFAULT_STATE_DIR: &str = "/var/lib/keepwatch";

/// Where help shows an option that every command has: after the command's own.
pub(crate) const LAST: usize = 500;

/// Idle limits: what verdicts are measured against.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Idle limits")]
pub(crate) struct LimitArgs {
    /// How long paths keep a quiet connection: a time (350s, 5m30s, 1h) or a preset
    /// (haproxy 50s; aws-alb 60s; azure 240s: Load Balancer, NAT and Firewall; f5 300s: BIG-IP; aws or nlb 350s: NAT gateway and NLB; gcp 600s:
    /// VPC firewall; nginx-stream 600s; ipvs 900s: kube-proxy and Swarm; gcp-nat 1200s; srx 1800s: Juniper;
    /// envoy 3600s; firewall-1h 3600s: Cisco ASA, Palo Alto, FortiGate, Check Point; rfc5382 7440s: the least that a NAT may do)
    #[arg(
        long,
        env = "KEEPWATCH_IDLE_LIMIT",
        value_name = "LIMIT",
        default_value = "350s",
        value_parser = idle_limit,
        global = true
    )]
    pub idle_limit: IdleLimit,
    /// The idle limit of one path, like db=10.0.0.0/8:5432=aws; may be repeated. The longest prefix
    /// wins. In the config file: [[path]] tables
    #[arg(
        long,
        env = "KEEPWATCH_PATH",
        value_name = "NAME=CIDR[:PORT]=LIMIT",
        value_delimiter = ',',
        value_parser = network_path,
        global = true
    )]
    pub path: Vec<ConfiguredPath>,
    /// The way in which the idle limit was given.
    #[arg(skip)]
    pub idle_limit_by: Option<GivenBy>,
    /// The way in which the paths were given.
    #[arg(skip)]
    pub path_by: Option<GivenBy>,
}

/// The way in which an option was given, as clap and the keys of the config file say; none for a default.
fn given_by(id: &str, matches: &ArgMatches, keys: &[String]) -> Option<GivenBy> {
    match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Some(GivenBy::Flag),
        Some(ValueSource::EnvVariable) => Some(GivenBy::Variable),
        // To clap, a value of the config file is a default.
        _ => keys.iter().any(|key| key == id).then_some(GivenBy::ConfigFile),
    }
}

/// How hooks are attached, and what they say of themselves.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HookArgs {
    /// Attach the hooks of the keepalive timer and of setsockopt by this mechanism only
    #[arg(
        long,
        env = "KEEPWATCH_HOOKS",
        value_enum,
        value_name = "MECHANISM",
        default_value = "auto"
    )]
    pub hooks: Mechanism,
    /// Log what goes wrong inside the hooks, at this level and above, with the call and its process.
    /// `off` costs nothing
    #[arg(
        long,
        env = "KEEPWATCH_LOG_HOOKS",
        value_enum,
        value_name = "LEVEL",
        default_value = "off"
    )]
    pub log_hooks: LogLevel,
}

impl LimitArgs {
    /// Learns by what they were given: `matches` of the command line, `keys` of the config file.
    pub(crate) fn learn_sources(&mut self, matches: &ArgMatches, keys: &[String]) {
        self.idle_limit_by = given_by("idle_limit", matches, keys);
        self.path_by = given_by("path", matches, keys);
    }

    /// Nothing, if no path makes another one wrong.
    pub(crate) fn agree(&self) -> Result<(), String> {
        match contradiction(&self.path) {
            Some((_, n, reason)) => {
                let path = self.path.get(n).map(ToString::to_string).unwrap_or_default();
                Err(format!("the path {path} cannot be: {reason}"))
            }
            None => Ok(()),
        }
    }

    /// What was given for this call. A variable or the file may be there for the agent too: its answers then are
    /// measured against them already.
    pub(crate) fn of_this_call(&self) -> Option<GivenLimits> {
        let is_given = |by: Option<GivenBy>| by == Some(GivenBy::Flag);
        let idle_limit = is_given(self.idle_limit_by).then(|| self.idle_limit.into());
        let paths = is_given(self.path_by).then(|| self.path.iter().map(Into::into).collect());
        (idle_limit.is_some() || paths.is_some()).then_some(GivenLimits { idle_limit, paths })
    }

    /// The idle limits, with the way in which they were given.
    pub(crate) fn limits(&self) -> Limits {
        let limits = Limits::new(self.path.clone(), self.idle_limit, self.idle_limit_by.is_some());
        limits.given_by(self.idle_limit_by, self.path_by)
    }

    /// What verdicts on this host are measured against.
    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings {
            limits: self.limits(),
            host: crate::kernel::host::addresses().into(),
            hz: crate::kernel::clock::hz(),
        }
    }
}

/// What the agent's log has, and how it looks.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct LogArgs {
    /// Write lines of this level and above to the log
    #[arg(
        long,
        env = "KEEPWATCH_LOG_LEVEL",
        value_enum,
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: log::Level,
    /// Write the log as text or as JSON, one object a line
    #[arg(
        long,
        env = "KEEPWATCH_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: log::LogFormat,
}

/// How owners are found.
#[derive(Args, Clone, Debug)]
pub(crate) struct OwnerArgs {
    /// In a container: the folder where the host's root is mounted. Names of containers and pods are
    /// read below it (/var/log/pods, /run/containerd, /var/lib/docker and the like)
    #[arg(long, env = "KEEPWATCH_HOST_ROOT", value_name = "FOLDER", default_value = "/")]
    pub host_root: PathBuf,
}

impl OwnerArgs {
    /// Makes the reader of units, containers and pods.
    pub(crate) fn resolver(&self) -> Result<Resolver, Error> {
        // More cgroups than a host has; some 500 bytes each.
        const MAX_CGROUPS: usize = 8192;
        Resolver::new(Path::new("/proc"), &self.host_root, MAX_CGROUPS)
            .map_err(|cause| Error::HostRoot { folder: self.host_root.clone(), cause })
    }
}

/// A path from the root on: the contained agent cannot ask for the folder that it was started in.
fn absolute_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

/// How commands and the agent meet.
#[derive(Args, Clone, Debug)]
pub(crate) struct SocketArgs {
    /// The agent's API socket
    #[arg(
        long,
        env = "KEEPWATCH_SOCKET",
        value_name = "FILE",
        default_value = DEFAULT_SOCKET,
        value_parser = absolute_path(),
        global = true,
        display_order = LAST
    )]
    pub socket: PathBuf,
}

/// Where the history is.
#[derive(Args, Clone, Debug)]
pub(crate) struct StateArgs {
    /// The folder of the history on disk (see docs/HISTORY.md)
    #[arg(
        long,
        env = "KEEPWATCH_STATE_DIR",
        value_name = "FOLDER",
        default_value = DEFAULT_STATE_DIR,
        value_parser = absolute_path()
    )]
    pub state_dir: PathBuf,
}

/// How much history is kept.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HistoryArgs {
    /// Keep the history of this many days
    #[arg(long, env = "KEEPWATCH_HISTORY_DAYS", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub history_days: u32,
    /// Keep at most this much history on disk: a number of bytes, or one with KiB, MiB or GiB; of
    /// the records that are worth least the oldest are deleted to make room
    #[arg(long, env = "KEEPWATCH_HISTORY_BYTES", value_name = "BYTES", default_value = "256MiB", value_parser = history_bytes)]
    pub history_bytes: u64,
}

/// A size of at least 1 MiB, below which there is hardly room for the tables.
fn history_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.strip_prefix(digits) {
        Some("") => 1,
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("GiB") => 1 << 30,
        _ => 0,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|&bytes| bytes >= 1 << 20)
        .ok_or_else(|| "expected a size of at least 1MiB, like 256MiB or 268435456".to_owned())
}
