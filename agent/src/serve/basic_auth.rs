//! Basic authentication of the metrics endpoint, where the web config has users.
//!
//! bcrypt is slow by design, so a password is checked once and then known by a keyed digest of user, hash and password
//! together: nobody who can choose names finds another's entry (exporter-toolkit had that, CVE-2022-46146). A good password has
//! a place of its own that bad ones cannot push out. Bad ones cost a quarter of a CPU at most, whatever their number, and an
//! unknown user takes as long as a wrong password.

use super::tls_listener::ConnectionEnds;
use crate::config::web::{WebAccess, WebConfig};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{hmac, rand::SystemRandom};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::{Instant, sleep_until};

/// Bad passwords that are known as such: a scraper with an old password costs nothing.
const MAX_BAD: usize = 1024;
/// After a bad password the next is checked after this many times what it took.
const REST: u32 = 3;
/// Clients that wait for a check, from one address and from all.
const MAX_WAITING_OF_ONE: usize = 4;
const MAX_WAITING: usize = 32;

/// Checks passwords.
#[derive(Debug)]
pub(super) struct PasswordCheck {
    web: Arc<WebAccess>,
    key: hmac::Key,
    known: Mutex<KnownPasswords>,
    /// One check at a time: when the next may begin.
    next: tokio::sync::Mutex<Instant>,
}

/// What checks came to, by digests.
#[derive(Debug, Default)]
struct KnownPasswords {
    /// The last good one of each user.
    good: BTreeMap<String, hmac::Tag>,
    bad: BTreeSet<Vec<u8>>,
    /// In the order in which they came.
    bad_in_turn: VecDeque<Vec<u8>>,
    waiting: BTreeMap<IpAddr, usize>,
}

/// What is said to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PasswordVerdict {
    Admitted,
    Refused,
    /// Too many wait already.
    Later,
}

impl PasswordCheck {
    pub(super) fn new(web: Arc<WebAccess>) -> io::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| io::Error::other("the kernel gives no random numbers"))?;
        let next = tokio::sync::Mutex::new(Instant::now());
        Ok(Self { web, key, known: Mutex::default(), next })
    }

    async fn admit(&self, headers: &HeaderMap, from: IpAddr) -> PasswordVerdict {
        let config = self.web.now();
        if config.users.is_empty() {
            return PasswordVerdict::Admitted;
        }
        let Some((user, password)) = credentials(headers) else {
            return PasswordVerdict::Refused;
        };
        let (hash, is_user) = match config.users.get(&user) {
            Some(hash) => (hash.clone(), true),
            None => (config.decoy.clone(), false),
        };
        let claim = PasswordClaim { digest: self.digest(&user, &hash, &password), user, is_user };
        if let Some(admission) = self.recall(&claim, &config) {
            return admission;
        }
        let Some(_waiting) = self.wait_from(from) else {
            return PasswordVerdict::Later;
        };
        let mut next = self.next.lock().await;
        // Somebody with the same password may have been before.
        if let Some(admission) = self.recall(&claim, &config) {
            return admission;
        }
        sleep_until(*next).await;
        let began = Instant::now();
        let check = move || bcrypt::verify(password.as_slice(), &hash).unwrap_or(false);
        let is_right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        let is_good = is_right && is_user;
        let ended = Instant::now();
        *next = if is_good { ended } else { ended + ended.duration_since(began) * REST };
        self.remember(claim, is_good);
        if is_good { PasswordVerdict::Admitted } else { PasswordVerdict::Refused }
    }

    /// Of all parts, each with its length: no two triples have the same digest.
    fn digest(&self, user: &str, hash: &str, password: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        context.sign()
    }

    fn recall(&self, claim: &PasswordClaim, config: &WebConfig) -> Option<PasswordVerdict> {
        let mut known = self.known();
        known.good.retain(|user, _| config.users.contains_key(user));
        // Their key is secret: how far two digests agree tells nothing.
        let is_same = |tag: &hmac::Tag| tag.as_ref() == claim.digest.as_ref();
        if claim.is_user && known.good.get(&claim.user).is_some_and(is_same) {
            return Some(PasswordVerdict::Admitted);
        }
        known.bad.contains(claim.digest.as_ref()).then_some(PasswordVerdict::Refused)
    }

    fn remember(&self, claim: PasswordClaim, is_good: bool) {
        let mut known = self.known();
        if is_good {
            known.good.insert(claim.user, claim.digest);
            return;
        }
        let digest = claim.digest.as_ref().to_vec();
        if known.bad.insert(digest.clone()) {
            known.bad_in_turn.push_back(digest);
        }
        if known.bad_in_turn.len() > MAX_BAD
            && let Some(oldest) = known.bad_in_turn.pop_front()
        {
            known.bad.remove(&oldest);
        }
    }

    /// A place in the line; none if it is too long.
    fn wait_from(&self, from: IpAddr) -> Option<InLine<'_>> {
        let mut known = self.known();
        let n_of_all: usize = known.waiting.values().sum();
        let n_of_one = known.waiting.entry(from).or_default();
        if *n_of_one >= MAX_WAITING_OF_ONE || n_of_all >= MAX_WAITING {
            if *n_of_one == 0 {
                known.waiting.remove(&from);
            }
            return None;
        }
        *n_of_one += 1;
        Some(InLine { check: self, from })
    }

    fn known(&self) -> MutexGuard<'_, KnownPasswords> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who somebody says that he is.
struct PasswordClaim {
    user: String,
    is_user: bool,
    digest: hmac::Tag,
}

/// A client that waits for its check.
struct InLine<'a> {
    check: &'a PasswordCheck,
    from: IpAddr,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut known = self.check.known();
        if let Some(n) = known.waiting.get_mut(&self.from) {
            *n -= 1;
            if *n == 0 {
                known.waiting.remove(&self.from);
            }
        }
    }
}

/// `Authorization: Basic BASE64(user:password)`, RFC 7617.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    let user = String::from_utf8(user.to_vec()).ok()?;
    Some((user, password.get(1..)?.to_vec()))
}

/// Lets those in who have a password, where one is needed; and gives every answer the headers of the web config.
pub(super) async fn require_password(
    State(check): State<Arc<PasswordCheck>>,
    ConnectInfo(ConnectionEnds { peer, .. }): ConnectInfo<ConnectionEnds>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check.admit(request.headers(), peer.ip()).await {
        PasswordVerdict::Admitted => next.run(request).await,
        PasswordVerdict::Refused => {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"keepwatch\"")];
            (StatusCode::UNAUTHORIZED, ask, "a user and a password are needed\n").into_response()
        }
        PasswordVerdict::Later => {
            let later = [(header::RETRY_AFTER, "1")];
            (
                StatusCode::TOO_MANY_REQUESTS,
                later,
                "too many passwords are being checked: try again\n",
            )
                .into_response()
        }
    };
    for (name, value) in &check.web.now().headers {
        if let (Ok(name), Ok(value)) =
            (header::HeaderName::from_bytes(name.as_bytes()), value.parse())
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::web::WebAccess;
    use std::path::PathBuf;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn check(name: &str, users: &[(&str, &str)]) -> (PasswordCheck, PathBuf) {
        let file =
            std::env::temp_dir().join(format!("keepwatch-auth-{name}-{}", std::process::id()));
        let mut text = "basic_auth_users:\n".to_owned();
        for (user, password) in users {
            text += &format!("  {user}: {}\n", bcrypt::hash(password, 4).unwrap());
        }
        std::fs::write(&file, text).unwrap();
        let web = WebAccess::open(Some(file.clone())).unwrap();
        (PasswordCheck::new(Arc::new(web)).unwrap(), file)
    }

    fn headers(user: &str, password: &str) -> HeaderMap {
        let value = format!("bAsic {}", STANDARD.encode(format!("{user}:{password}")));
        [(header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    fn block_on<T>(what: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
    }

    #[test]
    fn a_password_is_for_its_user_and_checked_once() {
        let (check, file) = check("once", &[("alice", "a:b"), ("bob", "")]);
        let admit = |user, password| block_on(check.admit(&headers(user, password), HOME));
        for _ in 0..2 {
            assert_eq!(admit("alice", "a:b"), PasswordVerdict::Admitted);
            assert_eq!(admit("bob", ""), PasswordVerdict::Admitted);
            for (user, password) in
                [("bob", "a:b"), ("alice", ""), ("alice", "a:"), ("carol", "keepwatch")]
            {
                assert_eq!(admit(user, password), PasswordVerdict::Refused, "{user} {password}");
            }
        }
        let known = check.known();
        assert_eq!((known.good.len(), known.bad.len(), known.waiting.len()), (2, 4, 0));
        drop(known);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn what_is_known_is_bounded_and_bad_passwords_push_no_good_one_out() {
        let (check, file) = check("bound", &[("alice", "right")]);
        block_on(check.admit(&headers("alice", "right"), HOME));
        for n in 0..MAX_BAD + 10 {
            let digest = check.digest("alice", "", n.to_string().as_bytes());
            check
                .remember(PasswordClaim { user: "alice".to_owned(), is_user: true, digest }, false);
        }
        let known = check.known();
        assert_eq!(
            (known.good.len(), known.bad.len(), known.bad_in_turn.len()),
            (1, MAX_BAD, MAX_BAD)
        );
        drop(known);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn parts_of_a_digest_do_not_run_into_each_other() {
        let (check, file) = check("digest", &[]);
        let digest = |user, hash, password: &str| check.digest(user, hash, password.as_bytes());
        let one = digest("a", "bc", "d");
        for other in [digest("ab", "c", "d"), digest("a", "b", "cd"), digest("", "abc", "d")] {
            assert_ne!(one.as_ref(), other.as_ref());
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn the_line_is_short_and_one_address_does_not_fill_it() {
        let (check, file) = check("line", &[]);
        let from = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut line: Vec<_> = (0..4).map(|_| check.wait_from(from(0)).unwrap()).collect();
        assert!(check.wait_from(from(0)).is_none());
        line.extend((1..29).map(|n| check.wait_from(from(n)).unwrap()));
        assert!(check.wait_from(from(99)).is_none(), "all places are taken");
        line.clear();
        assert!(check.known().waiting.is_empty());
        std::fs::remove_file(file).unwrap();
    }
}
