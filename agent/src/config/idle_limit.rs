//! Idle limits and paths as they are typed: `aws`, `5m30s`, `db=10.0.0.0/8:5432=aws`.

use super::whole_seconds;
use crate::model::judgement::{
    idle_limit::{ConfiguredPath, IdleLimit},
    preset::PRESETS,
};
use ipnet::IpNet;
use std::net::IpAddr;

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

/// `NAME=CIDR[:PORT]=LIMIT`, IPv6 in brackets when a port follows.
pub(crate) fn network_path(text: &str) -> Result<ConfiguredPath, String> {
    const FORM: &str = "expected NAME=CIDR[:PORT]=LIMIT, like db=10.0.0.0/8:5432=aws";
    let (name, rest) = text.split_once('=').ok_or(FORM)?;
    let (peers, limit) = rest.rsplit_once('=').ok_or(FORM)?;
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("{FORM}: a name without spaces"));
    }
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
    let peers = net
        .parse::<IpNet>()
        .or_else(|_| net.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{FORM}: {net:?} is no network"))?
        .trunc();
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
