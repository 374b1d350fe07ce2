//! The web config that holds now. It is read anew when it or a file that it names has changed, as exporter-toolkit does,
//! and at a reload. Until a good one is there, the old one holds.

use super::{
    WebConfig, WebConfigError,
    file_stamp::{FileStamp, stamp},
    tls::PemReader,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

/// The web config that holds now.
#[derive(Debug)]
pub(crate) struct WebAccess {
    now: RwLock<Arc<WebConfig>>,
    source: Mutex<WebSource>,
}

/// The files of a web config, as they were when they were read.
#[derive(Debug, Default)]
struct WebSource {
    file: Option<PathBuf>,
    stamps: Vec<(PathBuf, FileStamp)>,
}

impl WebSource {
    /// Notes what the files are like before they are read: what is written meanwhile is a change.
    fn read(file: Option<PathBuf>) -> (Self, Result<WebConfig, WebConfigError>) {
        let Some(path) = file else {
            return (Self::default(), Ok(WebConfig::default()));
        };
        let own = stamp(&path);
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut pem = PemReader { folder: &folder, files: Vec::new() };
        let config = WebConfig::read(&path, &mut pem);
        let mut stamps = pem.files;
        stamps.push((path.clone(), own));
        (Self { file: Some(path), stamps }, config)
    }

    fn has_changed(&self) -> bool {
        self.stamps.iter().any(|(file, before)| stamp(file) != *before)
    }
}

impl WebAccess {
    /// Reads the web config for the first time.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self, WebConfigError> {
        let (source, config) = WebSource::read(file);
        Ok(Self { now: RwLock::new(Arc::new(config?)), source: Mutex::new(source) })
    }

    /// What holds now.
    pub(crate) fn now(&self) -> Arc<WebConfig> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads it anew, whether it has changed or not.
    pub(crate) fn reload(&self, file: Option<PathBuf>) -> Result<(), WebConfigError> {
        self.replace(&mut self.source(), file)
    }

    /// Reads it anew if a file has changed. None if nothing has.
    pub(crate) fn look(&self) -> Option<Result<(), WebConfigError>> {
        let mut source = self.source();
        source.has_changed().then(|| {
            let file = source.file.clone();
            self.replace(&mut source, file)
        })
    }

    fn source(&self) -> MutexGuard<'_, WebSource> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that is no good is not read again before it changes.
    fn replace(&self, source: &mut WebSource, file: Option<PathBuf>) -> Result<(), WebConfigError> {
        let config;
        (*source, config) = WebSource::read(file);
        let config = config?;
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.tls.is_some() != config.tls.is_some() {
            let file = source.file.clone().unwrap_or_default();
            return Err(WebConfigError::TlsSwitched { file });
        }
        *now = Arc::new(config);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::test_certificates::TestAuthority, *};
    use std::fs;

    #[test]
    fn a_change_of_any_file_is_seen_once_and_a_bad_one_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("keepwatch-access-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("web.yml");
        let authority = TestAuthority::new("ours");
        let write = |name: &str, text: String| {
            // Another inode each time, as tools that renew certificates do.
            fs::write(folder.join("new"), text).unwrap();
            fs::rename(folder.join("new"), folder.join(name)).unwrap();
        };
        let renew = || {
            let (cert, key) = authority.server();
            write("a.crt", cert);
            write("a.key", key);
        };
        let tls = "tls_server_config: {cert_file: a.crt, key_file: a.key}\n";
        renew();
        write("web.yml", tls.to_owned());
        let access = WebAccess::open(Some(file.clone())).unwrap();
        let first = access.now();
        assert!(access.look().is_none(), "nothing has changed");

        renew();
        access.look().unwrap().unwrap();
        assert!(!Arc::ptr_eq(&first, &access.now()) && access.look().is_none());

        let second = access.now();
        write("a.key", authority.server().1);
        let said = access.look().unwrap().unwrap_err().to_string();
        assert!(said.contains("is not that of the first certificate"), "{said}");
        assert!(access.look().is_none(), "said once");
        assert!(Arc::ptr_eq(&second, &access.now()), "the old one holds");

        fs::remove_file(&file).unwrap();
        assert!(access.look().unwrap().is_err() && access.look().is_none());
        write("web.yml", String::new());
        let switched = access.look().unwrap().unwrap_err();
        assert!(switched.to_string().contains("restart"), "{switched}");
        assert!(access.reload(None).is_err() && Arc::ptr_eq(&second, &access.now()));

        renew();
        write("web.yml", tls.to_owned());
        access.reload(Some(file)).unwrap();
        assert!(!Arc::ptr_eq(&second, &access.now()));
        fs::remove_dir_all(folder).unwrap();
    }
}
