//! Variables that are called almost like one of keepwatch's. Others that begin with `KEEPWATCH_` are left alone: Kubernetes makes some
//! for each Service that is called keepwatch.

use clap::Command;
use std::collections::BTreeSet;
use tracing::warn;

/// Variables of keepwatch's own tests and tools: one of them is called almost like `KEEPWATCH_HOOKS`.
pub(crate) const OF_TESTS: [&str; 5] =
    ["KEEPWATCH_BIN", "KEEPWATCH_BLESS", "KEEPWATCH_COMMIT", "KEEPWATCH_SEED", "KEEPWATCH_TOOLS"];
/// Letters that are missing, too many, changed or swapped.
const MOST_SLIPS: usize = 2;

/// Warns of those in this process's environment.
pub(crate) fn warn_of_misspelt(command: &Command) {
    for (variable, meant) in misspelt_here(command) {
        warn!(variable, meant, "a variable that keepwatch does not have is ignored");
    }
}

/// Those in this process's environment, each with the variable that is called almost like it.
pub(crate) fn misspelt_here(command: &Command) -> Vec<(String, String)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    misspelt(names, &known_variables(command))
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

/// All that are variables, of keepwatch and of its tests.
pub(crate) fn known_variables(command: &Command) -> BTreeSet<String> {
    variables(command).into_iter().chain(OF_TESTS.map(str::to_owned)).collect()
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

    #[test]
    fn a_variable_of_the_tests_is_no_slip_and_a_slip_in_it_is_found() {
        let hooks = Arg::new("hooks").long("hooks").env("KEEPWATCH_HOOKS");
        let known = known_variables(&Command::new("keepwatch").arg(hooks));
        let names = ["KEEPWATCH_TOOLS", "KEEPWATCH_TOLS", "KEEPWATCH_HOKS"].map(str::to_owned);
        let pair = |slip: &str, meant: &str| (slip.to_owned(), meant.to_owned());
        assert_eq!(
            misspelt(names.into_iter(), &known),
            [pair("KEEPWATCH_TOLS", "KEEPWATCH_TOOLS"), pair("KEEPWATCH_HOKS", "KEEPWATCH_HOOKS"),]
        );
    }
}
