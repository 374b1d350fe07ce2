//! The terminal while `top` has it, and giving it back, however `top` ends.

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::process::{Signal, getpid, kill_process};
use std::{
    io::{self, BufWriter, Stdout},
    panic,
    sync::Once,
};

/// The terminal; given back when dropped.
pub(super) struct Screen {
    /// One write a picture: over ssh that is one packet.
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
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
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        let mut screen = Self { terminal: Terminal::new(CrosstermBackend::new(out))? };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        self.terminal.clear()
    }

    /// Draws what differs from the last picture.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(drop)
    }

    /// Lets the shell have the terminal until it lets this go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill_process(getpid(), Signal::TSTP)?;
        self.take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. If that fails, nobody is there to be told.
fn restore() {
    drop(execute!(io::stdout(), LeaveAlternateScreen, Show));
    restore_mode();
}

/// Gives back what needs no word to the terminal: how it treats what is typed.
pub(super) fn restore_mode() {
    drop(disable_raw_mode());
}
