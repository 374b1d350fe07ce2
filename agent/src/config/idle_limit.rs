//! Idle limits and paths as they are typed: `aws`, `5m30s`, `db=10.0.0.0/8:5432=aws`.

use super::whole_seconds;
use crate::{
    model::judgement::{
        idle_limit::{ConfiguredPath, IdleLimit},
        preset::PRESETS,
    },
    view::peer_pattern::network,
};

/// Other names of presets: of what has the same limit.
const ALIASES: [(&str, &str); 5] = [
    ("nlb", "aws"),
    ("aws-nlb", "aws"),
    ("aws-nat", "aws"),
    ("azure-lb", "azure"),
    ("azure-nat", "azure"),
];

/// A preset's name or a time.
pub(crate) fn idle_limit(text: &str) -> Result<IdleLimit, String> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == text);
    let name = alias.map_or(text, |(_, name)| name);
    if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) {
        return Ok(IdleLimit { seconds: preset.seconds, preset: Some(preset.name) });
    }
    let seconds = whole_seconds(text).map_err(|expected| {
        let presets: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("{expected}, or one of: {}", presets.join(", "))
    })?;
    Ok(IdleLimit { seconds, preset: None })
}

/// Nothing, if paths may have this name.
pub(crate) fn path_name(name: &str) -> Result<(), String> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '=' | ',');
    if name.is_empty() || name.chars().any(is_odd) {
        return Err("expected a name without spaces, `=` and `,`".to_owned());
    }
    Ok(())
}

/// Two paths of which one makes the other wrong: their places, and the reason.
pub(crate) fn contradiction(paths: &[ConfiguredPath]) -> Option<(usize, usize, String)> {
    paths.iter().enumerate().find_map(|(n, path)| {
        let (before, earlier) = paths.iter().enumerate().take(n).find(|(_, earlier)| {
            let is_same_place = (earlier.peers, earlier.port) == (path.peers, path.port);
            is_same_place || earlier.name == path.name && earlier.limit != path.limit
        })?;
        let reason = if earlier.name == path.name && earlier.limit != path.limit {
            format!("a path of the name {} has another limit: {earlier}", path.name)
        } else {
            format!("another path has the same peers: {earlier}")
        };
        Some((before, n, reason))
    })
}

/// `NAME=CIDR[:PORT]=LIMIT`, IPv6 in brackets when a port follows.
pub(crate) fn network_path(text: &str) -> Result<ConfiguredPath, String> {
    const FORM: &str = "expected NAME=CIDR[:PORT]=LIMIT, like db=10.0.0.0/8:5432=aws";
    let (name, rest) = text.split_once('=').ok_or(FORM)?;
    let (peers, limit) = rest.rsplit_once('=').ok_or(FORM)?;
    path_name(name).map_err(|expected| format!("{FORM}: {expected}"))?;
    let (net, port) = match peers.strip_prefix('[') {
        Some(v6) => {
            let (net, port) = v6.split_once(']').ok_or(FORM)?;
            (net, port.strip_prefix(':'))
        }
        // Only IPv4 has no colon of its own.
        None => match peers.split_once(':') {
            Some((net, port)) if net.contains('.') => (net, Some(port)),
            _ => (peers, None),
        },
    };
    let peers = network(net).map_err(|_| format!("{FORM}: {net:?} is no network"))?.trunc();
    let port = port
        .map(|port| port.parse().map_err(|_| format!("{FORM}: {port:?} is no port")))
        .transpose()?;
    Ok(ConfiguredPath { name: name.to_owned(), peers, port, limit: idle_limit(limit)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_preset_or_a_time() {
        assert_eq!(idle_limit("aws"), Ok(IdleLimit { seconds: 350, preset: Some("aws") }));
        for (alias, name) in ALIASES {
            assert_eq!(idle_limit(alias).unwrap().preset, Some(name), "{alias}");
            assert!(!PRESETS.iter().any(|preset| preset.name == alias), "{alias}");
        }
        assert_eq!(idle_limit("5m50s"), Ok(IdleLimit { seconds: 350, preset: None }));
        for text in ["", "0s", "-1s", "1500ms", "99999999h", "awz"] {
            let error = idle_limit(text).unwrap_err();
            assert!(error.contains("5m30s") && error.contains("azure"), "{text}: {error}");
        }
    }

    #[test]
    fn the_help_says_what_each_preset_is() {
        let command =
            <super::super::LimitArgs as clap::Args>::augment_args(clap::Command::new("x"));
        let arg = command.get_arguments().find(|arg| arg.get_id() == "idle_limit").unwrap();
        let help = arg.get_help().unwrap().to_string();
        for preset in PRESETS {
            let time = format!(" {}s", preset.seconds);
            assert!(help.contains(preset.name) && help.contains(&time), "{}: {help}", preset.name);
        }
    }

    #[test]
    fn two_paths_that_contradict_each_other_are_found_and_others_are_not() {
        let found = |texts: &[&str]| {
            let paths: Vec<_> = texts.iter().map(|text| network_path(text).unwrap()).collect();
            contradiction(&paths).map(|(before, n, _)| (before, n))
        };
        assert_eq!(found(&["a=10.0.0.0/8=60s", "x=::/0=1h", "b=10.9.9.9/8=90s"]), Some((0, 2)));
        assert_eq!(found(&["a=10.0.0.0/8=60s", "a=11.0.0.0/8=90s"]), Some((0, 1)));
        assert_eq!(found(&["a=10.0.0.0/8=60s", "b=::ffff:10.0.0.0/104=60s"]), Some((0, 1)));
        // One path may have several networks, and a port of its peers a limit of its own.
        assert_eq!(found(&["a=10.0.0.0/8=60s", "a=11.0.0.0/8=60s", "b=10.0.0.0/8:443=90s"]), None);
    }

    #[test]
    fn a_network_of_mapped_addresses_is_the_ipv4_network() {
        assert_eq!(
            network_path("a=::ffff:10.77.0.0/112=60s").unwrap().to_string(),
            "a=10.77.0.0/16=60s"
        );
        assert_eq!(network_path("a=::/0=60s").unwrap().to_string(), "a=::/0=60s");
    }

    #[test]
    fn a_path_reads_back_as_it_is_written() {
        for text in ["db=10.0.0.0/8:5432=aws", "six=[2001:db8::/32]:443=900s", "v6=fe80::/10=60s"] {
            assert_eq!(network_path(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_path_says_what_was_expected() {
        for text in
            ["", "db", "db=10.0.0.0/8", "db=10.0.0.0/33=aws", "db=10.0.0.0/8:x=aws", "=::/0=1s"]
        {
            let error = network_path(text).unwrap_err();
            assert!(error.contains("NAME=CIDR"), "{text}: {error}");
        }
    }
}
