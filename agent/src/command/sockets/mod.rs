//! `keepwatch sockets`: every connection, from the agent if one runs, else from the kernel.

mod table;

use super::{
    Failure, Outcome,
    columns::Column,
    near::{self, LooksAt},
    output,
    socket_text::{Size, Style},
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
use std::{io::Write, num::NonZeroUsize, time::Duration};
use table::TableLayout;
use tracing::info;

#[derive(Args, Debug)]
#[command(after_help = "\
If an agent runs, it answers, and measures by --idle-limit and --path if
they are given, else by limits of its own. Without an agent keepwatch
reads the kernel itself (as root). Settings are the same either way. If
the kernel is read, the direction of a connection is inferred, and
of sockets without a descriptor only those of this network namespace are
shown.

Where eBPF is refused, /proc is read: sockets that processes have open
are borrowed and asked, with CAP_SYS_PTRACE (and CAP_DAC_READ_SEARCH for
other users). Settings are exact. Not seen are events, deaths, who set
what, probes of the peer (a connection that it probes looks quieter than
it is: quiet_at_most), sockets without a descriptor, and the user timeout
of MPTCP. A value that was set to what its namespace says is shown as
the namespace's.

On a terminal each connection is one line, with the columns that fit;
--wide, and a pipe or file, have all.

Examples:
  keepwatch sockets --verdict unprotected --direction outbound
  keepwatch sockets --quiet-for 5m --remote-port 5432,6379 --limit 20
  keepwatch sockets --process postgres --sort quiet
  keepwatch sockets --remote-port postgresql --columns owner,peer,quiet
  keepwatch sockets --peer 10.0.0.0/8 --port 5432 --json | jq .meaning
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
    /// Read connections from the agent, from the kernel, or from /proc
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    /// Show at most this number of rows
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Show every column, or all of --columns, however narrow the terminal is
    #[arg(short, long)]
    wide: bool,
    /// Show these columns, in this order
    #[arg(long, value_enum, value_name = "COLUMN", value_delimiter = ',', conflicts_with = "json")]
    columns: Vec<Column>,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    filter: Filter,
}

impl SocketsArgs {
    /// Rows that are shown at most.
    fn most(&self) -> usize {
        self.limit.map_or(usize::MAX, NonZeroUsize::get)
    }
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
    size: Size,
) -> Result<(), Failure> {
    let pick = PageRequest {
        filter: args.filter.clone(),
        sort: args.sort.unwrap_or_default(),
        limit: u32::try_from(table::n_rows(size).min(args.most())).unwrap_or(u32::MAX),
        ..PageRequest::default()
    };
    let page = reader.page(&pick)?;
    let mut out = output::stdout();
    let columns = Some(size.columns);
    let layout = TableLayout { style, chosen: &args.columns, sort: pick.sort, columns };
    table::screen(&mut out, &page, layout, size)?;
    Ok(out.flush()?)
}

fn show(args: &SocketsArgs, reader: &mut ConnectionReader, style: Style) -> Result<(), Failure> {
    let mut out = output::stdout();
    if args.json && args.sort.is_none() {
        stream(args, reader, &mut out)?;
        out.flush()?;
        reader.say_unseen();
        return Ok(());
    }
    let mut rows = Vec::new();
    reader.each_row(&args.filter, |row| rows.push(row))?;
    reader.say_unseen();
    let sort = args.sort.unwrap_or_default();
    rows.sort_by_cached_key(|row| Standing::of_row(row).key(sort));
    if args.json {
        rows.iter().take(args.most()).try_for_each(|row| write_json(&mut out, row))?;
    } else {
        let columns = output::size().filter(|_| !args.wide).map(|size| size.columns);
        let layout = TableLayout { style, chosen: &args.columns, sort, columns };
        table::table(&mut out, &rows, args.most(), layout)?;
    }
    out.flush()?;
    if rows.is_empty()
        && reader.hidden().is_none()
        && let Some(instead) = near::instead(&args.filter, LooksAt::default(), |filter, each| {
            reader.each_row(filter, |row| each(&row))
        })?
    {
        info!("{instead}");
    }
    Ok(())
}

/// JSON as it comes: memory does not grow with the sockets. The agent's lines are copied: a field that only a newer
/// agent knows is not lost.
fn stream(
    args: &SocketsArgs,
    reader: &mut ConnectionReader,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut left = args.most();
    match reader {
        ConnectionReader::Agent { path, .. } => {
            let mut ended = Ok(());
            client::socket_lines(path, &args.filter, |lines| {
                ended = out.write_all(first_lines(lines, &mut left));
                ended.is_ok() && left > 0
            })?;
            Ok(ended?)
        }
        ConnectionReader::Kernel(kernel) => {
            let (mut json, mut line) = (RowWriter::default(), Vec::new());
            kernel.walk(&args.filter, |socket, owners, identity, around| {
                let Some(rest) = left.checked_sub(1) else {
                    return Ok(());
                };
                left = rest;
                line.clear();
                json.write(&mut line, socket, owners, identity, around, socket.at);
                Ok(out.write_all(&line)?)
            })
        }
    }
}

/// Of whole lines the first `left`, which are taken from that number.
fn first_lines<'a>(lines: &'a [u8], left: &mut usize) -> &'a [u8] {
    if *left == usize::MAX {
        return lines;
    }
    let ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let ends: Vec<usize> = ends.take(*left).collect();
    *left -= ends.len();
    lines.get(..ends.last().copied().unwrap_or_default()).unwrap_or_default()
}

fn write_json(out: &mut impl Write, row: &Row) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, row).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_lines_over_all_blocks() {
        let mut left = 3;
        assert_eq!(first_lines(b"a\nb\n", &mut left), b"a\nb\n");
        assert_eq!(first_lines(b"c\nd\n", &mut left), b"c\n");
        assert_eq!((first_lines(b"e\n", &mut left), left), (&b""[..], 0));
        let mut all = usize::MAX;
        assert_eq!(first_lines(b"a\nb\n", &mut all), b"a\nb\n");
    }
}
