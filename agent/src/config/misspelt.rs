//! Variables that are called almost like one of keepwatch's. Others that begin with `KEEPWATCH_` are left alone: Kubernetes makes some
//! for each Service that is called keepwatch.

use clap::Command;
use std::collections::BTreeSet;
use tracing::warn;

/// Letters that are missing, too many, changed or swapped.
const MOST_SLIPS: usize = 2;

/// Warns of those in this process's environment.
pub(crate) fn warn_of_misspelt(command: &Command) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (variable, meant) in misspelt(names, &variables(command)) {
        warn!(variable, meant, "a variable that keepwatch does not have is ignored");
    }
}

/// Each with the variable that is called almost like it.
fn misspelt(
    names: impl Iterator<Item = String>,
    known: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let strange = names.filter(|name| name.starts_with("KEEPWATCH_") && !known.contains(name));
    strange
        .filter_map(|name| {
            let slips = |one: &String| strsim::damerau_levenshtein(one, &name);
            let nearest = known.iter().min_by_key(|one| slips(one))?;
            (slips(nearest) <= MOST_SLIPS).then(|| (name.clone(), nearest.clone()))
        })
        .collect()
}

/// The variables of a command, and of those below it.
fn variables(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    let own = own.map(str::to_owned).collect::<BTreeSet<_>>();
    own.into_iter().chain(command.get_subcommands().flat_map(variables)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    #[test]
    fn a_slip_in_a_variable_is_found_and_a_variable_of_others_is_not() {
        let arg = |name: &'static str, env: &'static str| Arg::new(name).long(name).env(env);
        let run = Command::new("run").arg(arg("interval", "KEEPWATCH_INTERVAL"));
        let all = Command::new("keepwatch").arg(arg("socket", "KEEPWATCH_SOCKET")).subcommand(run);
        let known = variables(&all);
        assert_eq!(known.len(), 2);
        let names = [
            "KEEPWATCH_INTERVL",
            "KEEPWATCH_INTERVAL",
            "KEEPWATCH_PORT_10077_TCP_ADDR",
            "KEEPWATCH_SERVICE_HOST",
            "INTERVL",
        ];
        let found = misspelt(names.map(str::to_owned).into_iter(), &known);
        assert_eq!(found, [("KEEPWATCH_INTERVL".to_owned(), "KEEPWATCH_INTERVAL".to_owned())]);
    }
}
