//! The nftables table of a drill, as text: a set of exact 4-tuples that forget themselves, and two rules that drop what is in it.

use std::{fmt::Write as _, net::SocketAddr};

/// Our tables begin with this.
const PREFIX: &str = "keepwatch_drill_";

/// Both ends of a connection, ours first.
pub(crate) type CutEnds = (SocketAddr, SocketAddr);

/// The name of a table of this process.
pub(crate) fn table_name(pid: u32, random: u64) -> String {
    format!("{PREFIX}{pid}_{random:016x}")
}

/// The process whose drill a table is of, if it is one of ours.
pub(crate) fn maker(table: &str) -> Option<u32> {
    let (pid, random) = table.strip_prefix(PREFIX)?.split_once('_')?;
    let is_random = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    pid.parse().ok().filter(|_| is_random)
}

/// The table in one line, as `nft` takes it: of one transaction, whole or not at all.
///
/// Our own packets are dropped before anything else may change their addresses, those of the peer after that: at these places they
/// are as the socket has them, also where this host translates addresses. `is_owned`: the table is gone when the program that
/// made it is (Linux 5.12). Whatever becomes of that, after `seconds` nothing is in the sets any more.
pub(crate) fn table(name: &str, all: &[CutEnds], seconds: u64, is_owned: bool) -> String {
    let mut text = format!("table inet {name} {{ ");
    if is_owned {
        text.push_str("flags owner; ");
    }
    let (mut own, mut of_peer) = (String::new(), String::new());
    for (set, ip, kind) in [("v4", "ip", "ipv4_addr"), ("v6", "ip6", "ipv6_addr")] {
        let elements: Vec<String> = all
            .iter()
            .filter(|(local, _)| local.is_ipv4() == (set == "v4"))
            .map(|(local, remote)| {
                let (ip, port, peer, at) = (local.ip(), local.port(), remote.ip(), remote.port());
                format!("{ip} . {port} . {peer} . {at} timeout {seconds}s")
            })
            .collect();
        if elements.is_empty() {
            continue;
        }
        let elements = elements.join(", ");
        // A String takes everything.
        write!(
            text,
            "set {set} {{ type {kind} . inet_service . {kind} . inet_service; flags timeout; elements = {{ {elements} }}; }}; "
        )
        .ok();
        own.push_str(&format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport @{set} drop; "));
        of_peer.push_str(&format!("{ip} daddr . tcp dport . {ip} saddr . tcp sport @{set} drop; "));
    }
    text + &format!(
        "chain own {{ type filter hook output priority -350; {own}}}; \
         chain of_peer {{ type filter hook input priority 350; {of_peer}}}; }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, remote: &str) -> CutEnds {
        (local.parse().unwrap(), remote.parse().unwrap())
    }

    #[test]
    fn a_table_of_ours_is_known_by_its_name_and_that_of_another_is_not() {
        assert_eq!(maker(&table_name(812, 7)), Some(812));
        for other in [
            "keepwatch_drill_812",
            "keepwatch_drill_x_0000000000000007",
            "filter",
            "keepwatch_drill_812_7",
        ] {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_exact_ends_are_dropped_and_only_for_a_time() {
        let v4 = ends("10.0.0.5:44307", "10.0.0.9:5432");
        let text = table("t", &[v4, ends("[fd00::5]:1", "[fd00::9]:2")], 90, true);
        assert!(text.contains("10.0.0.5 . 44307 . 10.0.0.9 . 5432 timeout 90s }"), "{text}");
        assert!(text.contains("fd00::5 . 1 . fd00::9 . 2 timeout 90s }"), "{text}");
        assert_eq!(text.matches(" drop;").count(), 4);
        assert!(text.contains("flags owner;") && !table("t", &[v4], 90, false).contains("owner"));
        let of_one = table("t", &[v4], 90, true);
        assert!(!of_one.contains("ip6") && of_one.matches('\n').count() == 1, "{of_one}");
    }
}
