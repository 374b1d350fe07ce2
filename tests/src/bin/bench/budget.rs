//! Budgets (docs/ARCHITECTURE.md#budgets).

/// Says whether one is met.
pub(crate) fn budget(what: &str, value: f64, met: bool, allowed: f64) -> bool {
    let word = if met { "met" } else { "NOT MET" };
    println!("{word}: {value:.3} {what}; the budget is {allowed:.3}");
    met
}
