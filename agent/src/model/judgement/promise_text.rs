//! A promise in words: what the probes of a connection do for it. The one function for this: every surface says it with
//! these words.

use super::{
    facts::ConnectionFacts,
    gap::{Gap, GapFrom},
    idle_limit::is_kept_over,
};
use crate::model::{observed::setting::SettingOrigin, text::duration::duration};

/// What the probes of a connection do on its path; the limit is left to the caller. `kept_seconds`: the quiet time that the
/// path keeps for sure; `seconds`: that after which it forgets; `counts_bytes`: probes do not count there. `hz`: ticks of the
/// kernel's clock a second; `it`: the connection, as the sentence calls it.
pub fn probes_in_words(
    of: &impl ConnectionFacts,
    (kept_seconds, seconds, counts_bytes): (u32, u32, bool),
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
    if is_kept_over(gap.ms, kept_seconds, seconds) {
        return match gap.from {
            GapFrom::Interval => format!("{first}, then every {}", duration(interval.value)),
            GapFrom::Idle | GapFrom::ArmedTimer => first,
            GapFrom::WindowProbe => window_probes(gap),
        };
    }
    match gap.from {
        GapFrom::ArmedTimer if of.is_timer_of_now() => format!(
            "{first}, but the timer that runs fires only after {} of it: it was set before that, or after a \
             quiet time",
            duration(gap.ms.div_ceil(1000))
        ),
        GapFrom::ArmedTimer => {
            let by = match idle.from {
                SettingOrigin::Netns => "the sysctl",
                SettingOrigin::Socket => "its own setting",
                SettingOrigin::Unknown => "the setting of now",
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
        "the peer's window is closed: no keepalive probe goes out, only probes of the window, up to {} apart",
        duration(gap.ms / 1000)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        setting::OwnSettings,
        socket::{Socket, tests_support::socket},
    };

    #[test]
    fn a_timer_that_was_armed_late_is_not_called_older_than_the_settings() {
        let own = OwnSettings { idle_seconds: 15, interval_seconds: 5, ..OwnSettings::default() };
        let armed = |rest_ms, quiet_ms| Socket {
            keepalive: true,
            own,
            timer_ms: Some(rest_ms),
            quiet_ms,
            silent_ms: quiet_ms,
            received_ms: quiet_ms,
            ..socket()
        };
        let said = |socket: Socket| probes_in_words(&socket, (20, 20, false), 250, "it");
        // It was quiet for 10 s when keepalive was turned on.
        let late = said(armed(14_000, 11_000));
        assert!(late.ends_with("it was set before that, or after a quiet time"), "{late}");
        let old = said(armed(7_000_000, 11_000));
        assert!(old.ends_with("new connections follow at once: re-open it"), "{old}");
    }
}
