//! When the kernel gives up on data that nobody acknowledges.

/// TCP_RTO_MIN and TCP_RTO_MAX (include/net/tcp.h), milliseconds.
const RTO_MIN_MS: u64 = 200;
const RTO_MAX_MS: u64 = 120_000;

/// About how long the kernel repeats data before it gives up, by `tcp_retries2`: `retransmits_timed_out` in
/// net/ipv4/tcp_timer.c.
pub(crate) fn gives_up_after_seconds(retries2: u8) -> u32 {
    let doubled: u64 = (0..=u32::from(retries2))
        .map(|attempt| (RTO_MIN_MS << attempt.min(16)).min(RTO_MAX_MS))
        .sum();
    u32::try_from(doubled.div_ceil(1000)).unwrap_or(u32::MAX)
}

#[test]
fn the_kernel_gives_up_when_its_documentation_says() {
    // Documentation/networking/ip-sysctl.rst: 924.6 s for 15.
    assert_eq!(gives_up_after_seconds(15), 925);
    assert_eq!(gives_up_after_seconds(5), 13);
    assert_eq!(gives_up_after_seconds(255), 205 + 246 * 120);
}
