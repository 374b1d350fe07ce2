//! `keepwatch run`: the agent.

use super::{Cli, Failure, Outcome};
use crate::{
    agent, config,
    kernel::sandbox::SandboxMode,
    model::table::{
        Bounds,
        owner_label::{MAX_OWNERS, OwnerBudget, OwnerLabel, OwnerLabels},
    },
    store,
};
use clap::{ArgMatches, Args, CommandFactory as _};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keepwatch run                             for this host's Prometheus
  keepwatch run --listen 0.0.0.0:10077 --idle-limit azure
  keepwatch run --path db=10.0.0.0/8:5432=aws
  keepwatch run --socket-group adm          group adm may use the API
  keepwatch run --host-root /host           in a container
  keepwatch run --source proc               without eBPF")]
pub(super) struct RunArgs {
    /// Serve metrics on this address
    #[arg(
        long,
        env = "KEEPWATCH_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:10077",
        value_parser = listen_address
    )]
    listen: SocketAddr,
    /// Ask clients of the metrics for TLS or a password, as this file says. Its format is that of Prometheus' exporters
    /// (docs/CONFIG.md#web-config); changes of it and of its certificates apply at once
    #[arg(long, env = "KEEPWATCH_WEB_CONFIG_FILE", value_name = "FILE")]
    pub(super) web_config_file: Option<PathBuf>,
    /// Answer requests for these names too where metrics are served on loopback. Without it only localhost and addresses
    /// are served there, so that no web page can read them by a name that leads to loopback
    #[arg(long, env = "KEEPWATCH_ALLOWED_HOSTS", value_name = "NAME", value_delimiter = ',')]
    allowed_hosts: Vec<String>,
    /// The group that may use the API socket, besides root
    #[arg(long, env = "KEEPWATCH_SOCKET_GROUP", value_name = "GROUP")]
    socket_group: Option<String>,
    /// The time between two snapshots; the agent lengthens it if snapshots would use more than 5 % of a CPU
    #[arg(long, env = "KEEPWATCH_INTERVAL", value_name = "TIME", default_value = "15s", value_parser = config::duration)]
    interval: Duration,
    /// Read connections from the kernel or from /proc
    #[arg(
        long,
        env = "KEEPWATCH_SOURCE",
        value_enum,
        value_name = "SOURCE",
        default_value = "auto"
    )]
    source: agent::WatchedBy,
    /// Bytes of the ring buffer that carries events: a power of two
    #[arg(long, env = "KEEPWATCH_RING_BYTES", value_name = "BYTES", default_value_t = RING_BYTES, value_parser = ring_bytes)]
    ring_bytes: u32,
    #[command(flatten)]
    hooks: config::HookArgs,
    /// Remember what happened to at most this many connections, live and dead
    #[arg(long, env = "KEEPWATCH_MAX_HISTORIES", value_name = "N", default_value_t = 20_000)]
    max_histories: usize,
    /// Hold at most this many sockets, about 80 bytes each; more are counted, not shown
    #[arg(long, env = "KEEPWATCH_MAX_SOCKETS", value_name = "N", default_value_t = 2_000_000)]
    max_sockets: usize,
    /// The labels that name owners in metrics; fewer labels make fewer series
    #[arg(
        long,
        env = "KEEPWATCH_OWNER_LABELS",
        value_enum,
        value_name = "LABEL",
        value_delimiter = ',',
        default_value = "namespace,workload,container,process"
    )]
    owner_labels: Vec<OwnerLabel>,
    /// Show at most this many owners in metrics, fewer if their names are long; the rest is summed up
    /// in `~other`
    #[arg(long, env = "KEEPWATCH_MAX_OWNERS", value_name = "N", default_value_t = MAX_OWNERS)]
    max_owners: usize,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    state: config::StateArgs,
    #[command(flatten)]
    history: config::HistoryArgs,
    /// Once it runs, let the agent open only the paths and make only the system calls that it needs, as far as the kernel
    /// has landlock and seccomp for that
    #[arg(long, env = "KEEPWATCH_SANDBOX", value_enum, value_name = "MODE", default_value = "on")]
    sandbox: SandboxMode,
    #[command(flatten)]
    pub(super) log: config::LogArgs,
}

/// Room for about 10,000 events.
pub(super) const RING_BYTES: u32 = 2 << 20;

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDR:PORT, like 0.0.0.0:10077 or [::1]:10077".to_owned())
}

pub(super) fn ring_bytes(text: &str) -> Result<u32, String> {
    text.parse::<u32>()
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(bytes))
        .ok_or_else(|| "expected a power of two from 4096 to 1073741824".to_owned())
}

pub(super) fn run(
    args: RunArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    source: agent::ConfigSource,
) -> Result<Outcome, Failure> {
    let RunArgs {
        listen,
        web_config_file,
        allowed_hosts,
        socket_group,
        interval,
        source: watched_by,
        ring_bytes,
        hooks: config::HookArgs { hooks: mechanism, log_hooks: log },
        max_histories,
        max_sockets,
        owner_labels,
        max_owners,
        owners,
        state,
        history,
        sandbox,
        log: _,
    } = args;
    let bounds = Bounds {
        sockets: max_sockets,
        histories: max_histories,
        labels: OwnerLabels::new(&owner_labels),
        owners: OwnerBudget::of(max_owners),
    };
    agent::run(agent::Config {
        source,
        endpoints: agent::EndpointConfig {
            listen,
            web_config_file,
            allowed_hosts,
            socket: socket.socket.clone(),
            socket_group,
        },
        around: limits.surroundings(),
        interval,
        watched_by,
        hooks: agent::HookOptions { ring_bytes, mechanism, log },
        bounds,
        resolver: owners.resolver()?,
        host_root: owners.host_root,
        sandbox,
        history: store::Options {
            folder: state.state_dir,
            days: history.history_days,
            bytes: history.history_bytes,
            clues: Arc::default(),
        },
    })?;
    Ok(Outcome::Fine)
}

/// The options that an agent reads again while it runs.
const RELOADED: [&str; 4] = ["idle_limit", "owner_labels", "path", "web_config_file"];

/// What of a configuration that was read again can be taken in, and the rest.
pub(super) fn reloaded(
    file: Option<PathBuf>,
    args: RunArgs,
    limits: &config::LimitArgs,
    matches: &ArgMatches,
) -> agent::Reloaded {
    agent::Reloaded {
        file,
        limits: limits.limits(),
        labels: OwnerLabels::new(&args.owner_labels),
        web_config_file: args.web_config_file,
        fixed: fixed_values(matches),
    }
}

/// The values of all options that an agent reads once.
pub(super) fn fixed_values(matches: &ArgMatches) -> agent::FixedValues {
    let Some(run) = matches.subcommand_matches("run") else {
        return agent::FixedValues::new();
    };
    let values = |key: String| {
        let values = run.try_get_raw(&key).ok()??.map(ToOwned::to_owned).collect();
        Some((key, values))
    };
    let keys = config::keys(&Cli::command());
    keys.into_iter().filter(|key| !RELOADED.contains(&key.as_str())).filter_map(values).collect()
}
