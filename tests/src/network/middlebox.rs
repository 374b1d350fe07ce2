//! A middlebox: Linux's own connection tracking with an idle limit, as in NAT gateways and
//! firewalls that are built on it.

use crate::{kernel::netns::NetworkNamespace, skip::skip, tool};
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
    ops::Range,
    process::{Command, Stdio},
};

/// Options of the kernel.
const NEEDED: [&str; 5] =
    ["NF_CONNTRACK", "NF_TABLES", "NF_TABLES_INET", "NFT_CT", "NFT_REJECT_INET"];

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
    let refused = router.run(|| nft(&rules)).err();
    if let Some(why) = refused {
        assert!(!tool::kernel_has(&NEEDED), "this kernel has nf_tables and conntrack, yet: {why}");
        skip("a middlebox", format!("which this kernel cannot be: {why}"));
        return false;
    }
    // What is in the middle of a connection is not taken for the begin of one.
    router.set("netfilter/nf_conntrack_tcp_loose", 0);
    router.set("netfilter/nf_conntrack_tcp_timeout_established", idle_limit);
    true
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
