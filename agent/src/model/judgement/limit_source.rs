//! What gave an idle limit: a default, the configuration, or what was learned.

use super::preset::PRESETS;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

/// The way in which a limit was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBy {
    /// A flag of the command line.
    Flag,
    /// An environment variable.
    Variable,
    /// The config file.
    ConfigFile,
}

impl GivenBy {
    const ALL: [Self; 3] = [Self::Flag, Self::Variable, Self::ConfigFile];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Variable => "variable",
            Self::ConfigFile => "config file",
        }
    }
}

/// What gave an idle limit. In JSON and in the history it is a text of a fixed form: `default`, `learned`, or `configured`
/// or `preset NAME`, then ` by flag`, ` by variable` or ` by config file` where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// Nobody gave one.
    Default,
    /// The history of connections to that destination.
    Learned,
    /// The configuration.
    Given {
        /// The preset that it was given as; one that a newer agent knows is kept by name.
        preset: Option<Cow<'static, str>>,
        /// The way in which it was given, where that is known.
        by: Option<GivenBy>,
    },
    /// What only another version of keepwatch knows, in its words: an agent or a history of that version is read all
    /// the same.
    Other(Box<str>),
}

impl LimitSource {
    /// The kinds, as metrics name them.
    pub const KINDS: [&str; 4] = ["configured", "preset", "default", "learned"];

    /// The kind, as metrics name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Learned => "learned",
            Self::Given { preset: Some(_), .. } => "preset",
            // This version never gives another one; of those that it reads it makes no metrics.
            Self::Given { preset: None, .. } | Self::Other(_) => "configured",
        }
    }

    /// Whether the limit counts bytes, as a proxy's does: probes bring none.
    pub fn counts_bytes(&self) -> bool {
        let Self::Given { preset: Some(name), .. } = self else {
            return false;
        };
        PRESETS.iter().any(|preset| preset.name == name && preset.counts_bytes)
    }
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Other(words) = self {
            return f.write_str(words);
        }
        f.write_str(self.kind())?;
        if let Self::Given { preset, by } = self {
            if let Some(name) = preset {
                write!(f, " {name}")?;
            }
            if let Some(by) = by {
                write!(f, " by {}", by.as_str())?;
            }
        }
        Ok(())
    }
}

impl FromStr for LimitSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ways = GivenBy::ALL.map(|by| (by, format!(" by {}", by.as_str())));
        let given = ways.iter().find_map(|(by, end)| Some((text.strip_suffix(end.as_str())?, *by)));
        let (what, by) = given.map_or((text, None), |(what, by)| (what, Some(by)));
        match (what, by) {
            ("default", None) => Ok(Self::Default),
            ("learned", None) => Ok(Self::Learned),
            ("configured", by) => Ok(Self::Given { preset: None, by }),
            (preset, by) => match preset.strip_prefix("preset ") {
                Some(name) => {
                    let known = PRESETS.iter().find(|preset| preset.name == name);
                    let name = known.map_or_else(
                        || Cow::Owned(name.to_owned()),
                        |preset| Cow::Borrowed(preset.name),
                    );
                    Ok(Self::Given { preset: Some(name), by })
                }
                None => Ok(Self::Other(text.into())),
            },
        }
    }
}

impl Serialize for LimitSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LimitSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Ok(source) = Cow::<'de, str>::deserialize(deserializer)?.parse();
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_back_as_it_is_written() {
        for text in [
            "default",
            "learned",
            "configured",
            "configured by config file",
            "preset aws",
            "preset aws by flag",
            "preset one-of-the-future by variable",
        ] {
            assert_eq!(text.parse::<LimitSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_source_of_another_version_is_kept_and_taken_for_none_of_ours() {
        for text in ["", "guessed", "default by flag", "preset", "measured by hand"] {
            let source: LimitSource = serde_json::from_value(text.into()).unwrap();
            assert_eq!(source, LimitSource::Other(text.into()));
            assert_eq!(source.to_string(), text);
            assert!(!source.counts_bytes());
        }
    }

    #[test]
    fn a_proxy_is_known_by_its_preset_and_not_by_a_name_that_looks_like_it() {
        let source = |text: &str| text.parse::<LimitSource>().unwrap();
        assert!(source("preset nginx-stream by flag").counts_bytes());
        for proxy in ["haproxy", "envoy", "aws-alb"] {
            assert!(source(&format!("preset {proxy} by config file")).counts_bytes(), "{proxy}");
        }
        assert!(!source("preset nginx-stream-2").counts_bytes());
        assert!(!source("preset aws").counts_bytes() && !source("configured").counts_bytes());
    }
}
