//! `keepwatch top`: connections live, the one that will be dropped next first.

mod detail;
mod feed;
mod paint;
mod screen;
#[cfg(test)]
mod tests;
mod theme;
mod view;

use super::{
    Failure, Outcome, output, signals,
    source::{ConnectionReader, Source},
};
use crate::{
    config,
    kernel::clock,
    model::observed::socket::Time,
    view::{filter::Filter, order::Sort, page::PageRequest},
};
use clap::Args;
use feed::{Answer, EndOfFeed, Feed, FeedMessage};
use ratatui::crossterm::event::Event;
use screen::Screen;
use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::Duration,
};
use theme::Theme;
use view::{Effect, View};

#[derive(Args, Debug)]
#[command(after_help = "\
Keys: q ends, / finds as you type, Enter shows one connection with what
happened to it, s changes the order, u shows only the unprotected, p
pauses, ? shows all keys.

The agent answers if one runs. Without one keepwatch reads the kernel
itself (as root), and the past of a connection is not shown.

Examples:
  keepwatch top                             what is dropped next?
  keepwatch top --direction outbound --port 5432
  keepwatch top --sort unanswered           which peers do not answer?
  keepwatch top --interval 10s --no-color   over a slow line")]
pub(super) struct TopArgs {
    /// The time between two looks at all connections; lengthened if one look takes more than 5 % of it
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = config::duration)]
    interval: Duration,
    /// The order at the start; the key s changes it
    #[arg(long, value_enum, default_value = "limit")]
    sort: Sort,
    /// Read connections from the agent or from the kernel
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(
    args: TopArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    check_terminal()?;
    let TopArgs { interval, sort, source, owners, mut filter } = args;
    filter.measured_by = limits.of_this_call();
    let theme = Theme { colour: output::in_colour(colour) };
    let mut reader = ConnectionReader::new(source, &socket.socket, limits, &owners)?;
    let view = View::new(PageRequest { filter, sort, ..PageRequest::default() }, output::size());
    // An error at the start is printed before the screen is taken, where it can be read.
    let first = feed::look(&mut reader, &view.wish())?;
    let (messages, inbox) = mpsc::channel();
    let feed = Feed::start(reader, messages.clone())?;
    let screen = Screen::enter()?;
    listen(messages)?;
    let pace = Pace { interval, due: clock::now(), is_asked: true, is_stale: false };
    let mut session = TopSession { view, feed, screen, theme, pace };
    session.take(first);
    let ended = session.run(&inbox);
    // The terminal is given back before anything is said.
    drop(session);
    match ended {
        // A terminal that is gone reads as little as a closed pipe.
        Err(Failure::Output(error)) if is_gone(&error) => Ok(Outcome::Fine),
        ended => ended.map(|()| Outcome::Fine),
    }
}

fn check_terminal() -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !output::is_terminal() {
        return Err(Failure::NoTerminal(
            "top draws on a terminal, and needs one on stdin and stdout: for a pipe or a file there is \
             `keepwatch sockets --sort limit`",
        ));
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(Failure::NoTerminal(
            "top cannot draw on a terminal with TERM=dumb: there is `keepwatch sockets --sort limit`",
        ));
    }
    Ok(())
}

/// Whether an error says that nobody looks at the terminal any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::ENXIO | libc::ENOTTY))
        || matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}

/// Keys, sizes and signals become messages.
fn listen(messages: Sender<FeedMessage>) -> io::Result<()> {
    let on_end = messages.clone();
    signals::on_end(move || {
        drop(on_end.send(FeedMessage::End));
        // The main thread reads no messages while it waits for a terminal that takes nothing.
        clock::wait(PATIENCE);
        screen::restore_mode();
        #[expect(clippy::exit, reason = "there is nobody who could end it in order")]
        std::process::exit(0);
    })?;
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        let guard = EndOfFeed(messages);
        loop {
            let event = ratatui::crossterm::event::read();
            let is_end = event.is_err();
            if guard.0.send(FeedMessage::Input(event)).is_err() || is_end {
                return;
            }
        }
    })?;
    Ok(())
}

/// After a signal to end, this long for the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A look takes at most one in this many parts of the time.
const LOOK_SHARE: u32 = 20;

/// Decides when the next question goes out.
struct Pace {
    interval: Duration,
    /// When to ask again.
    due: Time,
    /// A question waits for its answer.
    is_asked: bool,
    /// Somebody wants to see what was not asked for yet.
    is_stale: bool,
}

/// What runs between the first picture and the end.
struct TopSession {
    view: View,
    feed: Feed,
    screen: Screen,
    theme: Theme,
    pace: Pace,
}

impl TopSession {
    fn run(&mut self, inbox: &Receiver<FeedMessage>) -> Result<(), Failure> {
        loop {
            let mut area = None;
            self.screen.draw(|frame| {
                area = Some(frame.area());
                paint::draw(&self.view, frame, self.theme);
            })?;
            // The signal of a resize may have come before the input was listened to.
            if let Some(area) = area.filter(|area| !self.view.is_of(area.width, area.height)) {
                self.pace.is_stale |= self.view.resize(area.width, area.height) == Effect::Ask;
                continue;
            }
            let message = loop {
                match inbox.recv_timeout(self.ask_if_due()) {
                    Ok(message) => break message,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err(Failure::Broken),
                }
            };
            match message {
                FeedMessage::Answer(answer) => self.take(*answer),
                FeedMessage::Input(event) => match self.input(&event?)? {
                    Effect::Nothing => {}
                    Effect::Ask => self.pace.is_stale = true,
                    Effect::End => return Ok(()),
                },
                FeedMessage::End => return Ok(()),
                FeedMessage::Broken => return Err(Failure::Broken),
            }
        }
    }

    /// Asks if it is time to; how long there is nothing to do but to listen.
    fn ask_if_due(&mut self) -> Duration {
        const LONG: Duration = Duration::from_hours(1);
        let Pace { due, is_asked, is_stale, .. } = self.pace;
        let until_due = Duration::from_millis(due.ms_since(clock::now()));
        let is_due = until_due.is_zero() && !self.view.is_paused();
        if !is_asked && (is_due || is_stale) {
            self.feed.ask(self.view.wish());
            self.pace.is_asked = true;
            self.pace.is_stale = false;
        }
        if self.pace.is_asked || self.view.is_paused() { LONG } else { until_due }
    }

    fn take(&mut self, answer: Answer) {
        let pause = self.pace.interval.max(answer.cost.saturating_mul(LOOK_SHARE));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pace.is_asked = false;
        self.pace.due = clock::now().ms_after(pause_ms);
        // A list that became shorter may have moved what is shown.
        self.pace.is_stale |= self.view.take(answer, pause) == Effect::Ask;
    }

    fn input(&mut self, event: &Event) -> Result<Effect, Failure> {
        Ok(match *event {
            Event::Key(key) if view::is_suspend(key) => {
                self.screen.suspend()?;
                Effect::Ask
            }
            Event::Key(key) => self.view.key(key),
            Event::Resize(columns, lines) => self.view.resize(columns, lines),
            _ => Effect::Nothing,
        })
    }
}
