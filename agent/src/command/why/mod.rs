//! `keepwatch why [PEER]`: what happened to connections with it, live and dead, in plain words, with the
//! evidence and the line that would have prevented it.

mod answer;
mod first_probe;
pub(super) mod history;
mod in_window;
mod inherited;
mod known_names;
mod lessons;
mod lost_events;
mod measurement;
mod needs;
mod peer_timer;
mod recognition;
mod source;
mod stopped;
mod target;
mod text;
mod then;

pub(super) use source::Error;

use self::in_window::AskedWhen;
use super::{Failure, Outcome, output, socket_text::Style, source::Source, time_window::TimeArgs};
use crate::{config, kernel::clock};
use clap::Args;
use std::io::{self, Write as _};

#[derive(Args, Debug)]
#[command(after_help = "\
Live connections are read from the agent, or without one from the kernel
(as root). Deaths are read from the agent's memory and from its history
on disk; the history is read without an agent too.

TIME is a time ago (90m, 24h, 7d), a time of day (10:41), a day
(yesterday, 2026-11-24), or both (2026-11-24T22:00); without a zone, in
that of this host. A time of day is the last one: later than now, it is
yesterday's. What hung in the window belongs to it, even if the kernel
gave up later.
Exit code 1: connections died of silence, are unprotected, or probe later
than what killed others there; 2: nothing has this name.

Examples:
  keepwatch why                            everything of this host
  keepwatch why --at 10:41                 what happened at 10:41?
  keepwatch why 10.0.0.9:5432              all connections with it
  keepwatch why db.example.com --since 7d  by name, over a week
  keepwatch why checkout --since yesterday a process, unit, pod or path
  keepwatch why :5432 --since 10:30 --until 10:50
  keepwatch why sk:1f                      one, by its id in `ss -e`
  keepwatch why 812 --idle 120s            what if idle were 120 s?
  keepwatch why 10.0.0.9 --json | jq -r '.advice[].lines[]'")]
pub(super) struct WhyArgs {
    /// The peer (address, network or host name, each with :PORT or without; :PORT alone), the owner (id or
    /// name of a process, systemd unit, pod, workload, container), a path of the config, or one socket id
    /// (sk:1f) [default: everything of this host]
    #[arg(value_name = "PEER")]
    peer: Option<String>,
    #[command(flatten)]
    times: TimeArgs,
    /// Say what a first probe after this time would have changed [default: 60s, or half of a shorter idle limit]
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    idle: Option<u32>,
    /// Print every kind of connection in full, not only the worst
    #[arg(long)]
    all: bool,
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
    let now = clock::unix_seconds();
    let window = args.times.window()?;
    let found = source::find(args, socket, limits, &window, now)?;
    let asked = AskedWhen {
        now,
        is_of_past: window.is_past(),
        since: window.since_seconds(),
        window: window.until_seconds().map(|until| (window.since_seconds(), until)),
    };
    let judged = answer::judge(found.lives, &found.neighbours, &found.learned, args.idle, asked);
    let mut out = output::stdout();
    if args.json {
        for case in &judged {
            serde_json::to_writer(&mut out, case).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    } else {
        let page = text::WhyText {
            cases: &judged,
            peer: args.peer.as_ref().map(|_| found.taken_for.as_str()),
            window: &window.words(),
            behind: found.behind.as_ref(),
            notes: &found.notes,
            in_full: args.all,
            now,
            style: Style { colour: output::in_colour(colour) },
        };
        out.write_all(page.to_string().as_bytes())?;
    }
    out.flush()?;
    let is_finding = judged.iter().any(answer::Judged::is_of_silence);
    Ok(if is_finding { Outcome::Finding } else { Outcome::Fine })
}
