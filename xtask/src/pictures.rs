//! `cargo xtask pictures`: draws the dashboards for the docs.

use crate::{
    command::{announced, become_it, cargo},
    place,
    purpose::Purpose,
    setup,
};
use anyhow::Result;
use std::{net::SocketAddr, process::ExitCode};

/// Draws every dashboard into docs/pictures. Needs chromium and the font Inter.
#[derive(clap::Args)]
pub(crate) struct PicturesOptions {
    /// From the last six hours of the Prometheus at this address, not from a made-up fleet.
    #[arg(value_name = "ADDRESS:PORT")]
    prometheus: Option<SocketAddr>,
}

pub(crate) fn run(options: &PicturesOptions) -> Result<ExitCode> {
    let PicturesOptions { prometheus } = options;
    setup::prepare(Purpose::Tests)?;
    announced(
        &mut cargo(["build", "-p", "keepwatch-tests", "--bin", "pictures"]),
        "fix what the compiler says",
    )?;
    let mut pictures = crate::command::new(place::binary("debug", "pictures"));
    pictures.args(prometheus.map(|address| address.to_string()));
    pictures.env("KEEPWATCH_TOOLS", place::tools());
    become_it(&mut pictures, "read what it says above")
}
