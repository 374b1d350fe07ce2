//! Where pictures come from: a thread that asks the agent or the kernel, so that keys need not wait.

use crate::{
    command::{Failure, source::ConnectionReader},
    kernel::clock,
    serve::client,
    view::{
        event_row::EventRow,
        page::{Page, PageRequest},
    },
};
use ratatui::crossterm::event::Event;
use std::{
    io,
    sync::mpsc::{self, Receiver, Sender},
    time::Duration,
};

/// What reaches the session.
pub(super) enum FeedMessage {
    /// What was asked for.
    Answer(Box<Answer>),
    /// A key, or a new size; or that there will be none.
    Input(io::Result<Event>),
    /// A signal to end.
    End,
    /// The feed will not answer any more.
    Broken,
}

/// An answer, or why there is none.
pub(super) struct Answer {
    /// The agent or the kernel.
    pub(super) origin: Origin,
    /// The question that this answers.
    pub(super) wish: PageRequest,
    /// The page; else what went wrong, in words.
    pub(super) page: Result<Page, String>,
    /// What happened to the chosen connection, if somebody remembers.
    pub(super) timeline: Option<Vec<EventRow>>,
    /// CPU time or, of an agent, time that it took.
    pub(super) cost: Duration,
}

/// The source of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The agent with this process id, if it is known.
    Agent(Option<u32>),
    Kernel,
    /// /proc, where eBPF is refused.
    Proc {
        /// Rights are missing for processes of other users.
        is_part: bool,
    },
}

/// The thread's other end.
pub(super) struct Feed {
    wishes: Sender<PageRequest>,
}

impl Feed {
    /// Starts the thread; its answers become messages.
    pub(super) fn start(
        mut reader: ConnectionReader,
        messages: Sender<FeedMessage>,
    ) -> io::Result<Self> {
        let (wishes, asked) = mpsc::channel();
        std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
            let guard = EndOfFeed(messages);
            while let Some(wish) = latest(&asked) {
                let answer = look(&mut reader, &wish).unwrap_or_else(|failure| Answer {
                    origin: origin(&reader),
                    wish,
                    page: Err(crate::log::in_full(&failure)),
                    timeline: None,
                    cost: Duration::ZERO,
                });
                if guard.0.send(FeedMessage::Answer(Box::new(answer))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { wishes })
    }

    /// Asks for rows. A thread that is gone has sent `Broken` before.
    pub(super) fn ask(&self, wish: PageRequest) {
        drop(self.wishes.send(wish));
    }
}

/// Says that a thread is gone, even if it panics.
pub(super) struct EndOfFeed(pub(super) Sender<FeedMessage>);

impl Drop for EndOfFeed {
    fn drop(&mut self) {
        drop(self.0.send(FeedMessage::Broken));
    }
}

/// What was wished last; none if nobody wishes any more.
fn latest(asked: &Receiver<PageRequest>) -> Option<PageRequest> {
    let mut wish = asked.recv().ok()?;
    while let Ok(newer) = asked.try_recv() {
        wish = newer;
    }
    Some(wish)
}

/// Reads one page, and the timeline of the chosen connection.
pub(super) fn look(reader: &mut ConnectionReader, wish: &PageRequest) -> Result<Answer, Failure> {
    let (began, began_cpu) = (clock::now(), clock::thread_cpu());
    let page = reader.page(wish);
    if let ConnectionReader::Agent { path, pid, .. } = reader {
        match &page {
            // Another may take its place.
            Err(_) => *pid = None,
            Ok(_) if pid.is_none() => *pid = client::status(path).ok().map(|status| status.pid),
            Ok(_) => {}
        }
    }
    let page = page?;
    let (timeline, cost) = match (&*reader, &wish.id) {
        (ConnectionReader::Agent { path, .. }, id) => {
            let timeline = id.as_ref().map(|id| client::timeline(path, id)).transpose()?;
            (timeline, Duration::from_millis(clock::now().ms_since(began)))
        }
        (ConnectionReader::Kernel(_), _) => (None, clock::thread_cpu().saturating_sub(began_cpu)),
    };
    Ok(Answer { origin: origin(reader), wish: wish.clone(), page: Ok(page), timeline, cost })
}

fn origin(reader: &ConnectionReader) -> Origin {
    match reader {
        ConnectionReader::Agent { pid, .. } => Origin::Agent(*pid),
        ConnectionReader::Kernel(kernel) if kernel.is_without_hooks() => {
            Origin::Proc { is_part: kernel.hidden().is_some() }
        }
        ConnectionReader::Kernel(_) => Origin::Kernel,
    }
}
