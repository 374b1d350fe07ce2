//! A limit that is in force beside one that connections taught: which of them counts and why, and whether they contradict each
//! other. Precedence: configured, preset, learned and sure, default.

use super::{
    idle_limit::limit_in_words, learned::LimitRow, learned_limit::Confidence,
    limit_source::LimitSource,
};
use crate::model::text::duration::{duration, ms, tenths};
use serde::Serialize;
use std::net::SocketAddr;

/// What a path is called that `keepwatch measure --write` adds to the configuration.
pub fn measured_path_name(peer: SocketAddr) -> String {
    format!("measured-{}-{}", peer.ip(), peer.port())
}

/// Whether a path of the configuration has the name of a measured one: that of its peer.
pub fn is_measured(path: &str) -> bool {
    let named = path.strip_prefix("measured-").and_then(|peer| peer.rsplit_once('-'));
    let Some((ip, port)) = named else {
        return false;
    };
    ip.parse::<std::net::IpAddr>().is_ok() && port.parse::<u16>().is_ok()
}

/// The limit in force on a path.
#[derive(Clone, Copy, Debug)]
pub struct LimitInForce<'a> {
    /// The limit in seconds.
    pub seconds: u32,
    /// The quiet time that the path keeps for sure, seconds.
    pub kept_seconds: u32,
    /// What gave it.
    pub from: &'a LimitSource,
    /// The path's name, if a path of the configuration matched.
    pub path: Option<&'a str>,
}

/// How the limit in force stands to what connections taught of the same path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitsMet {
    /// The limit in force.
    pub in_force_seconds: u32,
    /// What gave it: `default`, `learned`, or `preset NAME` or `configured`, then ` by flag`, ` by variable` or ` by config file`.
    pub in_force_from: LimitSource,
    /// The name of the configured path; null if none matched.
    pub in_force_path: Option<String>,
    /// `keepwatch measure --write` gave it.
    pub in_force_measured: bool,
    /// Why this one counts.
    pub in_force_because: &'static str,
    /// How what was set and what was learned contradict each other, and what to do; null if they agree, and where nothing is set.
    pub contradiction: Option<String>,
}

impl LimitsMet {
    /// Compares them.
    pub fn of(in_force: LimitInForce<'_>, learned: &LimitRow) -> Self {
        let LimitInForce { seconds, from, path, .. } = in_force;
        let in_force_because = match from {
            LimitSource::Default => "nothing is set, and what was learned is not sure",
            LimitSource::Learned => "nothing is set, and what was learned is sure",
            LimitSource::Given { .. } | LimitSource::Other(_) => {
                "what is set comes before what was learned"
            }
        };
        Self {
            in_force_seconds: seconds,
            in_force_from: from.clone(),
            in_force_path: path.map(str::to_owned),
            in_force_measured: path.is_some_and(is_measured),
            in_force_because,
            contradiction: in_force.contradiction(learned),
        }
    }
}

impl LimitInForce<'_> {
    /// Whether somebody gave it.
    pub const fn is_set(&self) -> bool {
        matches!(self.from, LimitSource::Given { .. } | LimitSource::Other(_))
    }

    fn contradiction(&self, learned: &LimitRow) -> Option<String> {
        if !self.is_set() {
            return None;
        }
        let (limit, is_measured) = (f64::from(self.seconds), self.path.is_some_and(is_measured));
        let says = if is_measured { "was measured" } else { "is set" };
        let words = limit_in_words(self.kept_seconds, self.seconds);
        let time = |seconds: f64| tenths(ms(seconds));
        let killed = learned.shortest_killed_seconds;
        if killed < f64::from(self.kept_seconds) {
            let help = if is_measured {
                "the path may have changed: measure it again".to_owned()
            } else {
                format!("set less than {}, or measure the path", time(killed))
            };
            let guess = match learned.confidence {
                Confidence::Guess => "if the guess is right, ",
                Confidence::Likely | Confidence::Sure => "",
            };
            return Some(format!(
                "{guess}the limit that {says} ({words}) contradicts what was learned: connections died after {} of quiet; {help}",
                time(killed)
            ));
        }
        let survived = learned.longest_survived_seconds?;
        if survived > limit * (1.0 + TOLERANCE) + 1.0 {
            let help = if is_measured {
                "the path may have changed: measure it again".to_owned()
            } else {
                format!("a limit of more than {} fits both", duration(whole(survived)))
            };
            return Some(format!(
                "the limit that {says} ({words}) contradicts what was learned: connections went on after {} of quiet; {help}",
                time(survived)
            ));
        }
        None
    }
}

/// `measure` finds a limit within a tenth, and a quiet time is known to a second or so.
const TOLERANCE: f64 = 0.1;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn whole(seconds: f64) -> u32 {
    seconds as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::judgement::{learned::tests_support::limit_row, limit_source::GivenBy};

    fn learned(survived: Option<f64>, killed: f64, confidence: Confidence) -> LimitRow {
        LimitRow {
            longest_survived_seconds: survived,
            shortest_killed_seconds: killed,
            confidence,
            idle_limit_seconds: whole(killed),
            meaning: "quiet connections are dropped".to_owned(),
            ..limit_row()
        }
    }

    const FILE: LimitSource = LimitSource::Given { preset: None, by: Some(GivenBy::ConfigFile) };

    fn met(from: &LimitSource, seconds: u32, path: Option<&str>, learned: &LimitRow) -> LimitsMet {
        LimitsMet::of(LimitInForce { seconds, kept_seconds: seconds, from, path }, learned)
    }

    #[test]
    fn what_was_set_and_what_was_learned_contradict_each_other_and_what_agrees_does_not() {
        let taught = learned(Some(35.0), 45.3, Confidence::Sure);
        let said = |seconds, path| met(&FILE, seconds, path, &taught).contradiction;
        let longer = said(350, Some("db")).unwrap();
        assert_eq!(
            longer,
            "the limit that is set (5 min 50 s) contradicts what was learned: connections died after 45 s of quiet; set less than \
             45 s, or measure the path"
        );
        let shorter = said(20, None).unwrap();
        assert!(
            shorter.ends_with("went on after 35 s of quiet; a limit of more than 35 s fits both")
        );
        // Between what was survived and what killed, and within what either is known to.
        for agrees in [32, 35, 40, 45] {
            assert_eq!(said(agrees, Some("db")), None, "{agrees}");
        }
        let nothing_survived = learned(None, 45.3, Confidence::Sure);
        assert_eq!(met(&FILE, 20, None, &nothing_survived).contradiction, None);
    }

    #[test]
    fn a_measured_limit_is_measured_again_and_a_guess_contradicts_only_if_it_is_right() {
        let peer = "10.0.0.9:5432".parse().unwrap();
        let name = measured_path_name(peer);
        let taught = learned(Some(300.0), 340.0, Confidence::Guess);
        let it = met(&FILE, 350, Some(&name), &taught);
        assert!(it.in_force_measured);
        let said = it.contradiction.unwrap();
        assert!(
            said.starts_with("if the guess is right, the limit that was measured (5 min 50 s)")
        );
        assert!(said.ends_with("the path may have changed: measure it again"), "{said}");
        assert_eq!(met(&FILE, 305, Some(&name), &taught).contradiction, None);
        for person in ["db", "measured-by-hand", "measured-10.0.0.9", "measured"] {
            assert!(!met(&FILE, 350, Some(person), &taught).in_force_measured, "{person}");
        }
        assert!(is_measured(&measured_path_name("[2001:db8::1]:443".parse().unwrap())));
    }

    #[test]
    fn where_nothing_is_set_nothing_contradicts_and_the_reason_is_said() {
        let taught = learned(Some(35.0), 45.3, Confidence::Guess);
        let it = met(&LimitSource::Default, 350, None, &taught);
        assert_eq!(it.contradiction, None);
        assert_eq!(it.in_force_because, "nothing is set, and what was learned is not sure");
        let it = met(&LimitSource::Learned, 45, None, &taught);
        assert_eq!((it.contradiction, it.in_force_seconds), (None, 45));
        assert!(it.in_force_because.ends_with("is sure"));
        assert!(met(&FILE, 9, None, &taught).in_force_because.starts_with("what is set"));
    }
}
