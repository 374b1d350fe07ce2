//! Scrapes that were written a moment ago: many clients cost little more than one, in time and in memory.

use crate::metrics::ScrapeFormat;
use axum::body::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// During this time a scrape is served again: sums are published once a second.
const FRESH: Duration = Duration::from_millis(200);

/// The last scrape in each form.
#[derive(Debug, Default)]
pub(super) struct ScrapeCache(Mutex<BTreeMap<Form, (Instant, Bytes)>>);

/// How a client wants its scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) format: ScrapeFormat,
    pub(super) is_gzipped: bool,
}

impl ScrapeCache {
    /// The scrape in this form, written by `write` if there is no fresh one.
    pub(super) fn get(
        &self,
        form: Form,
        now: Instant,
        write: impl FnOnce(ScrapeFormat) -> Result<String, fmt::Error>,
    ) -> Result<Bytes, fmt::Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.get(&form).filter(|(at, _)| now.duration_since(*at) < FRESH);
        if let Some((_, bytes)) = fresh {
            return Ok(bytes.clone());
        }
        let text = write(form.format)?;
        let bytes: Bytes = if form.is_gzipped { gzipped(&text)?.into() } else { text.into() };
        kept.insert(form, (now, bytes.clone()));
        Ok(bytes)
    }
}

/// At the lowest level: a scrape of 14 KB is 2 KB then, and no other level is worth its time.
fn gzipped(text: &str) -> Result<Vec<u8>, fmt::Error> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).map_err(|_| fmt::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_written_once_while_it_is_fresh_and_in_each_form() {
        let cache = ScrapeCache::default();
        let mut n_written = 0;
        let began = Instant::now();
        let mut get = |is_gzipped, after_ms| {
            let form = Form { format: ScrapeFormat::Text, is_gzipped };
            let now = began + Duration::from_millis(after_ms);
            let write = |_| {
                n_written += 1;
                Ok("x".repeat(1000))
            };
            (cache.get(form, now, write).unwrap().len(), n_written)
        };
        assert_eq!(get(false, 0), (1000, 1));
        assert_eq!(get(false, 199), (1000, 1));
        let (len, n_written) = get(true, 199);
        assert!(len < 100 && n_written == 2, "{len} {n_written}");
        assert_eq!(get(false, 200), (1000, 3));
    }
}
