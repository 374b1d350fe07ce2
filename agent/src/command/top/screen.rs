//! The terminal while `top` has it, and giving it back, however `top` ends.

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
            enable_raw_mode,
        },
    },
};
use rustix::process::{Signal, getpid, kill_process};
use std::{
    io::{self, BufWriter, Stdout},
    mem::ManuallyDrop,
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

/// One write a picture: over ssh that is one packet.
type Drawing = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// The terminal; given back when dropped.
pub(super) struct Screen {
    /// Never dropped: where the terminal is gone, ratatui complains on stderr, and panics because that
    /// is gone too.
    terminal: ManuallyDrop<Drawing>,
}

impl Screen {
    /// Takes the terminal. From here on a panic gives it back before it speaks.
    pub(super) fn enter() -> io::Result<Self> {
        static HOOKED: Once = Once::new();
        HOOKED.call_once(|| {
            let speak = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                restore();
                speak(panic);
            }));
        });
        let screen = Self { terminal: blank()? };
        screen.take()?;
        Ok(screen)
    }

    /// Not by ratatui's `clear`: that asks the terminal where its cursor is and waits for an answer,
    /// which a slow line gives too late.
    #[expect(
        clippy::unused_self,
        reason = "only a screen that gives the terminal back may take it"
    )]
    fn take(&self) -> io::Result<()> {
        IS_TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))
    }

    /// Draws what differs from the last picture.
    pub(super) fn draw(&mut self, totals: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(totals).map(drop)
    }

    /// Lets the shell have the terminal until it lets this go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill_process(getpid(), Signal::TSTP)?;
        self.terminal = blank()?;
        self.take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// An empty screen: nothing is drawn yet.
fn blank() -> io::Result<ManuallyDrop<Drawing>> {
    let out = BufWriter::with_capacity(64 << 10, io::stdout());
    Terminal::new(CrosstermBackend::new(out)).map(ManuallyDrop::new)
}

/// Whether the terminal is ours. It is given back once: twice would put the cursor back over what was
/// printed meanwhile.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back. A failure is ignored: no screen is left to show it on.
fn restore() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    drop(execute!(io::stdout(), LeaveAlternateScreen, Show));
    restore_mode();
}

/// Gives back what needs no word to the terminal: how it treats what is typed.
pub(super) fn restore_mode() {
    drop(disable_raw_mode());
}
