//! A middlebox: Linux's own connection tracking with an idle limit, as in NAT gateways and
//! firewalls that are built on it. And a node that passes on what comes to an address of its own.

use crate::{kernel::netns::NetworkNamespace, skip::skip, tool};
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
    net::SocketAddr,
    ops::Range,
    process::{Command, Stdio},
};

/// Options of the kernel.
const NEEDED: [&str; 6] =
    ["NF_CONNTRACK", "NF_TABLES", "NF_TABLES_INET", "NFT_CT", "NFT_NAT", "NFT_REJECT_INET"];

/// What a middlebox answers to a packet of a connection that it has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiddleboxAnswer {
    /// Nothing, as a firewall.
    Silence,
    /// RST, as a load balancer.
    Reset,
}

impl MiddleboxAnswer {
    const fn rule(self) -> &'static str {
        match self {
            Self::Silence => "drop",
            Self::Reset => "meta l4proto tcp reject with tcp reset",
        }
    }
}

/// An idle limit in whole seconds, a random one of these: a test whose rule only fits one number fails.
#[must_use]
pub fn drawn_idle_limit(from: Range<u32>) -> u32 {
    let random = RandomState::new().build_hasher().finish();
    let n = u64::from(from.end - from.start);
    from.start + u32::try_from(random % n).expect("less than a u32")
}

/// Makes a router a middlebox. False where this kernel has no connection tracking by nf_tables,
/// which is said; a kernel that says it has and refuses fails the test.
#[track_caller]
pub(crate) fn install(router: &NetworkNamespace, idle_limit: u32, answer: MiddleboxAnswer) -> bool {
    let rules = format!(
        "table inet middlebox {{
            chain forward {{
                type filter hook forward priority 0; policy accept;
                ct state established,related accept
                tcp flags & (fin|syn|rst|ack) == syn accept
                {}
            }}
        }}",
        answer.rule()
    );
    if !filters(router, &rules) {
        return false;
    }
    // What is in the middle of a connection is not taken for the begin of one.
    router.set("netfilter/nf_conntrack_tcp_loose", 0);
    router.set("netfilter/nf_conntrack_tcp_timeout_established", idle_limit);
    true
}

/// Makes a router a node: what comes to `service`, an address of its own, is passed on to `server`. `leaves_from`: ports from
/// which it goes on; without them from where it came. False where this kernel has no nf_tables.
#[track_caller]
pub(crate) fn pass_on(
    router: &NetworkNamespace,
    service: SocketAddr,
    server: SocketAddr,
    leaves_from: Option<Range<u16>>,
) -> bool {
    let (SocketAddr::V4(service), SocketAddr::V4(server)) = (service, server) else {
        panic!("both by IPv4");
    };
    let source = leaves_from.map_or_else(String::new, |ports| {
        let (from, to) = (ports.start, ports.end - 1);
        format!(
            "ip daddr {} tcp dport {} snat to {}:{from}-{to}",
            server.ip(),
            server.port(),
            service.ip()
        )
    });
    let rules = format!(
        "table ip node {{
            chain to_service {{
                type nat hook prerouting priority -100;
                ip daddr {} tcp dport {} dnat to {server}
            }}
            chain from_node {{
                type nat hook postrouting priority 100;
                {source}
            }}
        }}",
        service.ip(),
        service.port(),
    );
    router.ip(&format!("address add {}/32 dev lo", service.ip()));
    filters(router, &rules)
}

/// From now on a router lets SYNs pass to `server`, and what the server answers, and nothing else: connections are open at the
/// client, and the server never has them, as with a full accept queue. False where this kernel has no nf_tables.
#[track_caller]
pub(crate) fn pass_only_syns(router: &NetworkNamespace, server: SocketAddr) -> bool {
    let rules = format!(
        "table inet syns {{
            chain forward {{
                type filter hook forward priority 0; policy accept;
                ip daddr {} tcp flags & syn == 0 drop
            }}
        }}",
        server.ip()
    );
    filters(router, &rules)
}

/// Gives the router rules. False where this kernel has no connection tracking by nf_tables.
#[track_caller]
fn filters(router: &NetworkNamespace, rules: &str) -> bool {
    let refused = router.run(|| nft(rules)).err();
    if let Some(why) = &refused {
        assert!(!tool::kernel_has(&NEEDED), "this kernel has nf_tables and conntrack, yet: {why}");
        skip("a middlebox", format!("which this kernel cannot be: {why}"));
    }
    refused.is_none()
}

/// `nft -f -`.
fn nft(rules: &str) -> Result<(), String> {
    let mut nft = Command::new(tool::program("nft"))
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("nft of nftables: {error}"))?;
    let mut stdin = nft.stdin.take().expect("its stdin");
    stdin.write_all(rules.as_bytes()).map_err(|error| error.to_string())?;
    drop(stdin);
    let output = nft.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| said.trim().replace('\n', "; "))
}
