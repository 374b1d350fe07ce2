//! The page as tests read it.

use super::WhyText;
use crate::{
    command::{
        socket_text::Style,
        why::{answer::Judged, source::LocalProgram},
    },
    kernel::host,
    model::{
        judgement::{
            learned::{LearnedRow, PeerClosesRow},
            learned_limit::Confidence,
        },
        observed::socket::Socket,
        text::wall_time::WallTime,
    },
    view::life::tests_support::app,
};

/// It hangs for 39 s, after 80 s of quiet.
pub(super) fn stuck(id: u64) -> Socket {
    Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(id, None, 39_000)
    }
}

/// What is said of these cases, in one line.
pub(super) fn said_of(cases: &[Judged], peer: Option<&str>) -> String {
    said_behind(cases, peer, None)
}

/// The same where all of them lead to a program of this host.
pub(super) fn said_behind(
    cases: &[Judged],
    peer: Option<&str>,
    behind: Option<&LocalProgram>,
) -> String {
    let page = WhyText {
        cases,
        peer,
        behind,
        window: "in the last 24 h",
        notes: &[],
        in_full: false,
        now: 0.0,
        style: Style { colour: false },
    };
    page.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The peer of `app` closes by itself after this time without data.
pub(super) fn closes_after(after_seconds: f64, confidence: Confidence) -> [LearnedRow; 1] {
    let one = app(1, None, 0);
    [LearnedRow::PeerCloses(PeerClosesRow {
        remote: one.remote.socket_addr().to_string(),
        netns: host::own_netns().filter(|own| *own != one.netns).map(|_| one.netns),
        time: WallTime::default(),
        after_seconds,
        connections: 8,
        occasions: 4,
        confidence,
        meaning: "the peer closes connections 40 s after the last data".to_owned(),
    })]
}
