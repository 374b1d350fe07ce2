//! A promise in words: what the probes of a connection do for it. The one function for this: every surface says it with
//! these words.

use super::{
    facts::ConnectionFacts,
    gap::{Gap, GapFrom},
};
use crate::model::{observed::setting::SettingOrigin, text::duration::duration};

/// What the probes of a connection do on a path that keeps it for `kept_seconds`, without the limit itself. `hz`: ticks of
/// the kernel's clock a second; `it`: the connection, as the sentence calls it.
pub fn probes_in_words(
    of: &impl ConnectionFacts,
    (kept_seconds, counts_bytes): (u32, bool),
    hz: u32,
    it: &str,
) -> String {
    let Some(gap) = of.gap(hz) else {
        return "keepalive is off: no probe is ever sent".to_owned();
    };
    if counts_bytes {
        return format!(
            "keepalive cannot protect {it} here: the proxy on its path counts bytes only, and probes carry none"
        );
    }
    let (idle, interval) = (of.idle(), of.interval());
    let first = format!("the first probe goes out after {} of silence", duration(idle.value));
    if gap.ms < u64::from(kept_seconds) * 1000 {
        return match gap.from {
            GapFrom::Interval => format!("{first}, then every {}", duration(interval.value)),
            GapFrom::Idle | GapFrom::ArmedTimer => first,
            GapFrom::WindowProbe => window_probes(gap),
        };
    }
    match gap.from {
        GapFrom::ArmedTimer => {
            let by = match idle.from {
                SettingOrigin::Netns => "the sysctl",
                SettingOrigin::Socket => "its own setting",
            };
            let fires = duration(of.next_probe_ms().unwrap_or(gap.ms).div_ceil(1000));
            format!(
                "{first} by {by}, but the timer was set before that and fires only in {fires}; new connections follow at \
                 once: re-open {it}"
            )
        }
        GapFrom::WindowProbe => window_probes(gap),
        GapFrom::Interval => format!(
            "{first}, but while the peer stays quiet the next ones come every {}",
            duration(interval.value)
        ),
        GapFrom::Idle if idle.value < kept_seconds => format!(
            "{first}, but the kernel's timer may be {} late",
            duration(gap.ms.div_ceil(1000).saturating_sub(idle.value.into())),
        ),
        GapFrom::Idle => {
            format!(
                "keepalive is on, but the first probe comes only after {}",
                duration(idle.value)
            )
        }
    }
}

fn window_probes(gap: Gap) -> String {
    format!(
        "the peer's window is closed: no keepalive probe goes out, and those of the window are up to {} apart",
        duration(gap.ms / 1000)
    )
}
