//! Signals that ask a command to end: it does so in order, it is not broken off.

use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Calls `end`, on a thread of its own, when SIGINT, SIGTERM or SIGHUP comes.
pub(super) fn on_end(end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, mut hang_up) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {},
                _ = interrupt.recv() => {},
                _ = hang_up.recv() => {},
            }
        });
        end();
    })?;
    Ok(())
}
