//! Places for clients: as many as there are, and when all are taken the client that has waited longest loses its place
//! to the next. A client that holds a place without using it keeps nobody out.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

/// How many places, and for how long one is safe.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceRules {
    /// Clients at a time.
    pub(super) n: usize,
    /// A client that is to say something is not cut before.
    pub(super) to_ask: Duration,
    /// A client that is to take its answer is not cut before, counted from the last part that it took; none: never.
    pub(super) to_take: Option<Duration>,
}

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    rules: PlaceRules,
    taken: Mutex<TakenPlaces>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct TakenPlaces {
    /// By number, in the order in which they came.
    all: BTreeMap<u64, WaitingClient>,
    n_ever: u64,
}

/// A client that we wait for.
#[derive(Debug)]
struct WaitingClient {
    /// Until when it is safe; none: always.
    until: Option<Instant>,
    /// Dropping it cuts the client.
    _cut: oneshot::Sender<()>,
}

impl Places {
    pub(super) fn new(rules: PlaceRules) -> Arc<Self> {
        Arc::new(Self { rules, taken: Mutex::default(), freed: Notify::new() })
    }

    /// A place, at the cost of the client that is no longer safe for the longest time, if all are taken.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.notified();
            let next = match self.try_enter(Instant::now()) {
                Ok(place) => return place,
                Err(next) => next,
            };
            match next {
                Some(next) => tokio::select! {
                    () = freed => {}
                    () = sleep_until(next) => {}
                },
                None => freed.await,
            }
        }
    }

    /// Or when the next client may be cut.
    fn try_enter(self: &Arc<Self>, now: Instant) -> Result<Place, Option<Instant>> {
        let mut taken = self.taken();
        if taken.all.len() >= self.rules.n {
            let until = |(&number, client): (&u64, &WaitingClient)| Some((client.until?, number));
            match taken.all.iter().filter_map(until).min() {
                Some((until, number)) if until <= now => drop(taken.all.remove(&number)),
                next => return Err(next.map(|(until, _)| until)),
            }
        }
        let (cut, is_cut) = oneshot::channel();
        let number = taken.n_ever;
        taken.n_ever += 1;
        taken.all.insert(number, WaitingClient { until: Some(now + self.rules.to_ask), _cut: cut });
        Ok(Place { number, places: Arc::clone(self), is_cut })
    }

    fn taken(&self) -> MutexGuard<'_, TakenPlaces> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    places: Arc<Places>,
    is_cut: oneshot::Receiver<()>,
}

impl Place {
    /// Ready when somebody else needs the place: the client is to be cut.
    pub(super) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.is_cut).poll(cx).map(drop)
    }

    /// The same, to wait for.
    pub(super) async fn cut(&mut self) {
        std::future::poll_fn(|cx| self.poll_cut(cx)).await;
    }

    /// The client has taken a part of its answer.
    pub(super) fn has_taken(&self) {
        let until = self.places.rules.to_take.map(|time| Instant::now() + time);
        if let Some(client) = self.places.taken().all.get_mut(&self.number) {
            client.until = until;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.places.taken().all.remove(&self.number));
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PlaceRules = PlaceRules {
        n: 2,
        to_ask: Duration::from_millis(100),
        to_take: Some(Duration::from_secs(1)),
    };

    fn is_cut(place: &mut Place) -> bool {
        place.poll_cut(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn the_one_that_has_waited_longest_is_cut_and_only_when_a_place_is_needed() {
        let places = Places::new(RULES);
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut first = places.try_enter(at(0)).unwrap();
        let mut second = places.try_enter(at(50)).unwrap();
        assert_eq!(places.try_enter(at(60)).unwrap_err(), Some(at(100)), "both are safe");
        assert!(!is_cut(&mut first));
        let mut third = places.try_enter(at(100)).unwrap();
        assert_eq!([&mut first, &mut second, &mut third].map(is_cut), [true, false, false]);
        drop(first);
        assert!(places.try_enter(at(120)).is_err(), "it gives back what it has lost");
        drop(third);
        places.try_enter(at(120)).unwrap();
        assert!(!is_cut(&mut second), "there was room");
    }

    #[test]
    fn a_client_that_takes_its_answer_is_safe_for_longer_or_for_ever() {
        let places = Places::new(RULES);
        let began = Instant::now();
        let mut slow = places.try_enter(began).unwrap();
        slow.has_taken();
        let mut idle = places.try_enter(began + Duration::from_millis(10)).unwrap();
        let soon = began + Duration::from_millis(500);
        let _next = places.try_enter(soon).unwrap();
        assert_eq!([&mut slow, &mut idle].map(is_cut), [false, true]);

        let patient = Places::new(PlaceRules { n: 1, to_take: None, ..RULES });
        let reader = patient.try_enter(began).unwrap();
        reader.has_taken();
        let in_an_hour = began + Duration::from_hours(1);
        assert_eq!(patient.try_enter(in_an_hour).unwrap_err(), None);
    }
}
