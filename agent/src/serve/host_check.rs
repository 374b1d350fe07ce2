//! A page that somebody visits on this host could ask for the metrics on loopback, if its name leads there (DNS rebinding).
//! The browser then says the page's name in `Host`: on loopback only names are served that are of loopback, addresses, and
//! those that were allowed.

use super::tls_listener::ConnectionEnds;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Whether a request may be answered: `local` is the address that it came to.
fn is_served(local: IpAddr, uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> bool {
    if !local.to_canonical().is_loopback() {
        return true;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    // Browsers always say one. Of two a proxy before us may have checked the other.
    let host = match (host, more) {
        (None, None) => return true,
        (Some(host), None) => host.to_str().ok().and_then(name_of),
        _ => None,
    };
    let in_uri = uri.host().map(str::to_ascii_lowercase);
    host.into_iter().chain(in_uri).map(|host| is_own(&host, allowed)).reduce(|a, b| a && b)
        == Some(true)
}

fn is_own(host: &str, allowed: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok()
        || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// Without the port.
fn name_of(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    // Nothing before the name, and nothing but a port behind it.
    let rest = host.strip_prefix(authority.host())?;
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    is_port.then(|| authority.host().to_ascii_lowercase())
}

/// Refuses a request for a name that is not ours.
pub(super) async fn require_own_name(
    State(allowed): State<Arc<[String]>>,
    ConnectInfo(ConnectionEnds { local, .. }): ConnectInfo<ConnectionEnds>,
    request: Request,
    next: Next,
) -> Response {
    if is_served(local.ip(), request.uri(), request.headers(), &allowed) {
        return next.run(request).await;
    }
    let message = "on loopback only localhost and addresses are served; to allow a name: --allowed-hosts NAME\n";
    (StatusCode::MISDIRECTED_REQUEST, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_answered(local: &str, uri: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let allowed = ["metrics.internal".to_owned()];
        is_served(local.parse().unwrap(), &uri.parse().unwrap(), &headers, &allowed)
    }

    #[test]
    fn on_loopback_names_of_loopback_addresses_and_allowed_names_are_served() {
        for host in [
            "localhost",
            "localhost:10077",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1:10077",
            "10.0.0.1",
            "[::1]:10077",
            "Metrics.Internal:80",
        ] {
            for local in ["127.0.0.1", "::1", "127.8.8.8", "::ffff:127.0.0.1"] {
                assert!(is_answered(local, "/metrics", &[host]), "{host}");
            }
        }
        assert!(is_answered("127.0.0.1", "/metrics", &[]), "no browser leaves it out");
    }

    #[test]
    fn on_loopback_other_names_are_refused() {
        for host in [
            "evil.example",
            "evil.example:10077",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "[::1].evil.example",
            "a@evil.example",
            "",
            "x y",
        ] {
            assert!(!is_answered("127.0.0.1", "/metrics", &[host]), "{host}");
        }
        assert!(!is_answered("127.0.0.1", "/", &["localhost", "evil.example"]), "which is it?");
        assert!(!is_answered("127.0.0.1", "http://evil.example/metrics", &["localhost"]));
        assert!(!is_answered("127.0.0.1", "http://localhost/metrics", &["evil.example"]));
    }

    #[test]
    fn elsewhere_every_name_is_served() {
        assert!(is_answered("10.0.0.1", "/metrics", &["node1.example"]));
        assert!(is_answered("2001:db8::1", "/metrics", &["node1.example"]));
    }
}
