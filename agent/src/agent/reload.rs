//! What changes while the agent runs: idle limits, paths and owner labels at SIGHUP, TLS and passwords also when their
//! files change. A configuration that is wrong is refused as a whole, and the old one holds.

use crate::{
    config::{ReloadHealth, web::WebAccess},
    kernel::clock,
    log::in_full,
    model::{
        judgement::idle_limit::Limits,
        table::{Table, owner_label::OwnerLabels},
    },
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Display, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{signal::unix::Signal, task::spawn_blocking, time::sleep};
use tracing::{error, info, warn};

/// Between two looks at the files of the web config.
const LOOK: Duration = Duration::from_secs(1);

/// A configuration that was read while the agent runs.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The config file that was read, if it or its name says anything.
    pub file: Option<PathBuf>,
    /// Idle limits and paths.
    pub limits: Limits,
    /// Owner labels of metrics.
    pub labels: OwnerLabels,
    /// Path of the web config.
    pub web_config_file: Option<PathBuf>,
    /// The values of all other keys, as they are written.
    pub fixed: FixedValues,
}

/// Values of keys that hold until the agent ends.
pub(crate) type FixedValues = BTreeMap<String, Vec<OsString>>;

/// Reads the configuration anew, or says what is wrong in it.
pub(crate) type ReadConfig = Box<dyn Fn() -> Result<Reloaded, String> + Send + Sync>;

/// Takes a configuration in.
pub(super) struct Reloader {
    pub(super) read: ReadConfig,
    /// What the agent was started with.
    pub(super) fixed: FixedValues,
    pub(super) table: Arc<Mutex<Table>>,
    pub(super) web: Arc<WebAccess>,
    pub(super) health: Arc<ReloadHealth>,
}

impl Reloader {
    /// At SIGHUP.
    fn reload(&self) {
        match self.try_reload() {
            Ok((file, unchanged)) => {
                info!(config = %shown(file.as_deref()), "configuration reloaded");
                if !unchanged.is_empty() {
                    let keys = unchanged.join(", ");
                    warn!(keys, "these keys have changed, and are as before until a restart");
                }
            }
            Err(cause) => error!(cause, "configuration not reloaded, the old one holds"),
        }
    }

    /// The config file that holds now, and the keys that have changed and cannot.
    fn try_reload(&self) -> Result<(Option<PathBuf>, Vec<String>), String> {
        let now = clock::unix_seconds();
        let refused = |cause: String| {
            self.health.note_config(false, now);
            cause
        };
        let Reloaded { file, limits, labels, web_config_file, fixed } =
            (self.read)().map_err(refused)?;
        let web = self.web.reload(web_config_file);
        self.health.note_web_config(web.is_ok(), now);
        web.map_err(|error| refused(in_full(&error)))?;
        self.table.lock().unwrap_or_else(PoisonError::into_inner).reconfigure(
            limits,
            labels,
            clock::now(),
        );
        self.health.note_config(true, now);
        Ok((file, changed(&self.fixed, &fixed)))
    }

    /// Once a second.
    fn look(&self) {
        let Some(read) = self.web.look() else {
            return;
        };
        self.health.note_web_config(read.is_ok(), clock::unix_seconds());
        match read {
            Ok(()) => info!("web config reloaded: one of its files has changed"),
            Err(error) => {
                error!(cause = in_full(&error), "web config not reloaded, the old one holds");
            }
        }
    }

    /// Reloads for as long as the agent runs: on threads of their own, for files may be slow.
    pub(super) async fn run(self: Arc<Self>, mut hangup: Signal) {
        loop {
            let this = Arc::clone(&self);
            let done = tokio::select! {
                asked = hangup.recv() => match asked {
                    Some(()) => spawn_blocking(move || this.reload()),
                    None => return,
                },
                () = sleep(LOOK) => spawn_blocking(move || this.look()),
            };
            drop(done.await);
        }
    }
}

/// A config file, as the log names it.
pub(super) fn shown(file: Option<&Path>) -> Display<'_> {
    file.unwrap_or_else(|| Path::new("none")).display()
}

fn changed(before: &FixedValues, now: &FixedValues) -> Vec<String> {
    now.iter()
        .filter(|(key, values)| before.get(*key) != Some(values))
        .map(|(key, _)| key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_named() {
        let values = |listen: &str| -> FixedValues {
            [("listen", listen), ("interval", "15s")]
                .map(|(key, value)| (key.to_owned(), vec![value.into()]))
                .into()
        };
        assert!(changed(&values("a"), &values("a")).is_empty());
        assert_eq!(changed(&values("a"), &values("b")), ["listen"]);
    }
}
