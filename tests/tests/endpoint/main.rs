//! The metrics endpoint where not everybody is a friend: TLS, passwords, reloads, names, sockets of systemd, and clients that
//! hold on to it.
#![expect(clippy::expect_used, reason = "a test")]

mod activation;
mod clients;
mod names;
mod reload;
mod secure_agent;
mod tls;

use secure_agent::{SecureAgent, basic, user, web_config};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const HOST: &str = "Host: localhost";

/// Whether a metric has this value, in Prometheus' text.
fn has(metrics: &str, series: &str, value: &str) -> bool {
    metrics.lines().any(|line| line == format!("{series} {value}"))
}
