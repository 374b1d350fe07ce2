//! `keepwatch why PEER`: what happened to connections with it, live and dead, in plain words, with the
//! evidence and the line that would have prevented it.

mod answer;
mod earlier_probe;
mod source;
mod target;
mod text;

use super::{Failure, Outcome, output, socket_text::Style, source::Source};
use crate::{config, kernel::clock};
use clap::Args;
use std::{
    io::{self, Write as _},
    time::Duration,
};

#[derive(Args, Debug)]
#[command(after_help = "\
Live connections are read from the agent, or without one from the kernel
(as root). Deaths are read from the agent's memory and from its history
on disk; the history is read without an agent too.
Exit code 1: connections died of silence, or are unprotected.

Examples:
  keepwatch why 10.0.0.9:5432              all connections with it
  keepwatch why db.example.com --since 7d  by name, over a week
  keepwatch why checkout                   a process, unit, pod or path
  keepwatch why sk:1f                      one, by its id in `ss -e`
  keepwatch why 812 --idle 120s            what if idle were 120 s?
  keepwatch why 10.0.0.9 --json | jq -r '.advice[].lines[]'")]
pub(super) struct WhyArgs {
    /// The peer (address, address:port, network, host name), or the owner (id or name of a process,
    /// systemd unit, pod, workload, container), a path of the config, or one socket id (sk:1f)
    #[arg(value_name = "PEER")]
    peer: String,
    /// How far back to look for deaths: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = config::duration)]
    since: Duration,
    /// Say what a first probe after this time would have changed [default: 60s, or half of a shorter idle limit]
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    idle: Option<u32>,
    /// Print JSON, one object a line: one for each kind of connection
    #[arg(long)]
    json: bool,
    /// Read live connections from the agent or from the kernel
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    #[command(flatten)]
    state: config::StateArgs,
    #[command(flatten)]
    owners: config::OwnerArgs,
}

pub(super) fn run(
    args: &WhyArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let found = source::find(args, &socket.socket, limits)?;
    let judged = answer::judge(found.lives, &found.learned, args.idle);
    let mut out = output::stdout();
    if args.json {
        for case in &judged {
            serde_json::to_writer(&mut out, case).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    } else {
        let page = text::WhyText {
            cases: &judged,
            peer: &found.taken_for,
            since: args.since,
            notes: &found.notes,
            now: clock::unix_seconds(),
            style: Style { colour: output::in_colour(colour) },
        };
        out.write_all(page.to_string().as_bytes())?;
    }
    out.flush()?;
    let is_finding = judged.iter().any(|case| case.finding.is_of_silence());
    Ok(if is_finding { Outcome::Finding } else { Outcome::Fine })
}
