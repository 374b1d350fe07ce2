//! `keepwatch sockets`: every connection, from the agent if one runs, else from the kernel.

use super::{
    Failure, Outcome, nothing_found, output,
    socket_text::{self, Style},
    source::{ConnectionReader, Source},
};
use crate::{
    config,
    kernel::clock,
    serve::client,
    view::{
        filter::Filter,
        order::{Sort, Standing},
        page::PageRequest,
        row::Row,
        row_json::RowWriter,
    },
};
use clap::Args;
use std::{io::Write, time::Duration};

#[derive(Args, Debug)]
#[command(after_help = "\
If an agent runs, it answers, and measures by --idle-limit and --path if
they are given, else by limits of its own. Without an agent keepwatch
reads the kernel itself (as root). Settings are the same either way. If
the kernel is read, the direction of a connection is inferred, and
sockets without a descriptor are missing.

Examples:
  keepwatch sockets --verdict off,late --direction outbound
  keepwatch sockets --process postgres --sort quiet
  keepwatch sockets --peer 10.0.0.0/8 --port 5432 --json | jq .reason
  keepwatch sockets --watch 1s --pid 812")]
pub(super) struct SocketsArgs {
    /// Print JSON, one object a line, as connections are read
    #[arg(long)]
    json: bool,
    /// The order of rows [default: limit; JSON has no order by default: to sort it, all rows are held in memory]
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    /// Refresh the table this often [2s if no time is given]
    #[arg(long, value_name = "TIME", value_parser = config::duration, num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<Duration>,
    /// Read connections from the agent or from the kernel
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(
    mut args: SocketsArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    args.filter.measured_by = limits.of_this_call();
    let args = &args;
    let style = Style { colour: output::in_colour(colour) };
    let mut reader = ConnectionReader::new(args.source, &socket.socket, limits, &args.owners)?;
    let Some(pause) = args.watch else {
        reader.say_which();
        show(args, &mut reader, style)?;
        return Ok(Outcome::Fine);
    };
    loop {
        match output::size() {
            Some(size) if !args.json => show_screen(args, &mut reader, style, size)?,
            _ => show(args, &mut reader, style)?,
        }
        clock::wait(pause);
    }
}

/// As much as the terminal has room for, over what was there before.
fn show_screen(
    args: &SocketsArgs,
    reader: &mut ConnectionReader,
    style: Style,
    size: socket_text::Size,
) -> Result<(), Failure> {
    let pick = PageRequest {
        filter: args.filter.clone(),
        sort: args.sort.unwrap_or_default(),
        limit: u32::try_from(socket_text::n_rows(size)).unwrap_or(u32::MAX),
        ..PageRequest::default()
    };
    let page = reader.page(&pick)?;
    let mut out = output::stdout();
    socket_text::screen(&mut out, &page, style, size)?;
    Ok(out.flush()?)
}

fn show(args: &SocketsArgs, reader: &mut ConnectionReader, style: Style) -> Result<(), Failure> {
    let mut out = output::stdout();
    if args.json && args.sort.is_none() {
        let is_empty = stream(args, reader, &mut out)?;
        out.flush()?;
        if is_empty && args.watch.is_none() {
            nothing_found::explain(reader, &args.filter)?;
        }
        return Ok(());
    }
    let mut rows = Vec::new();
    reader.rows(&args.filter, |row| rows.push(row))?;
    let sort = args.sort.unwrap_or_default();
    rows.sort_by_cached_key(|row| Standing::of_row(row).key(sort));
    if args.json {
        rows.iter().try_for_each(|row| write_json(&mut out, row))?;
    } else {
        socket_text::table(&mut out, &rows, style)?;
    }
    out.flush()?;
    if rows.is_empty() && args.watch.is_none() {
        nothing_found::explain(reader, &args.filter)?;
    }
    Ok(())
}

/// JSON as it comes: memory does not grow with the sockets. The agent's lines are copied: a field that only a newer
/// agent knows is not lost. Returns whether there was nothing.
fn stream(
    args: &SocketsArgs,
    reader: &mut ConnectionReader,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let mut is_empty = true;
    match reader {
        ConnectionReader::Agent { path, .. } => {
            let mut ended = Ok(());
            client::socket_lines(path, &args.filter, |lines| {
                is_empty &= lines.is_empty();
                ended = out.write_all(lines);
                ended.is_ok()
            })?;
            ended?;
        }
        ConnectionReader::Kernel(kernel) => {
            let (mut json, mut line) = (RowWriter::default(), Vec::new());
            kernel.walk(&args.filter, |socket, owners, identity, around| {
                is_empty = false;
                line.clear();
                json.write(&mut line, socket, owners, identity, around, socket.at);
                Ok(out.write_all(&line)?)
            })?;
        }
    }
    Ok(is_empty)
}

fn write_json(out: &mut impl Write, row: &Row) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, row).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}
