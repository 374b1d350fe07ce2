//! What to say where a filter by names finds nothing: how many there are without it, and what the name is elsewhere.

use super::{Failure, source::ConnectionReader};
use crate::view::{
    filter::Filter,
    known_names::{KnownName, KnownNames, NameField},
};
use tracing::info;

/// Says so on stderr, if the filter names an owner.
pub(super) fn explain(reader: &mut ConnectionReader, filter: &Filter) -> Result<(), Failure> {
    let (names, others) = split(filter);
    if names.is_empty() {
        return Ok(());
    }
    let mut known = KnownNames::default();
    reader.rows(&others, |row| {
        let processes = row.owners.iter().map(|owner| owner.process.as_str());
        known.meet(processes, &row.connection.part_of);
    })?;
    if known.n_connections() > 0 {
        info!("{}", sentence(&names, &known));
    }
    Ok(())
}

/// The names that a filter asks for, and the filter without them.
fn split(filter: &Filter) -> (Vec<KnownName>, Filter) {
    let mut others = filter.clone();
    let fields = [
        (NameField::Process, others.process.take()),
        (NameField::Unit, others.unit.take()),
        (NameField::Container, others.container.take()),
        (NameField::Namespace, others.namespace.take()),
        (NameField::Workload, others.workload.take()),
        (NameField::Pod, others.pod.take()),
    ];
    let name = |(field, name): (NameField, Option<String>)| Some(KnownName { name: name?, field });
    (fields.into_iter().filter_map(name).collect(), others)
}

/// `no connections with process checkout (6,110 without the filter); there is unit checkout.service: --unit
/// checkout.service`.
fn sentence(names: &[KnownName], known: &KnownNames) -> String {
    let asked: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "no connections with {} ({} without that)",
        asked.join(" and "),
        thousands(known.n_connections())
    );
    for KnownName { name, field } in names {
        let near: Vec<String> = known
            .near(name)
            .into_iter()
            .filter(|near| near.field != *field || near.name != *name)
            .map(|near| format!("{near}: {}", near.option().unwrap_or_default()))
            .collect();
        if !near.is_empty() {
            text += &format!("; there is {}", near.join(", or "));
        }
    }
    text
}

/// `6,110`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::connection::PartOf;

    #[test]
    fn a_name_that_nobody_has_is_answered_with_what_there_is() {
        let mut known = KnownNames::default();
        let unit = PartOf { unit: Some("checkout.service".to_owned()), ..PartOf::default() };
        for _ in 0..6110 {
            known.meet(["python3"], &unit);
        }
        let said = |filter: &Filter| sentence(&split(filter).0, &known);
        let process = Filter { process: Some("checkout".to_owned()), ..Filter::default() };
        assert_eq!(
            said(&process),
            "no connections with process checkout (6,110 without that); there is unit \
             checkout.service: --unit checkout.service"
        );
        // Both exist, and no connection has both.
        let both = Filter {
            unit: Some("checkout.service".to_owned()),
            pod: Some("x".to_owned()),
            ..Filter::default()
        };
        assert_eq!(
            said(&both),
            "no connections with unit checkout.service and pod x (6,110 without that)"
        );
    }

    #[test]
    fn only_names_are_left_out() {
        let filter = Filter { port: Some(80), pod: Some("x".to_owned()), ..Filter::default() };
        let (names, others) = split(&filter);
        assert_eq!((names.len(), &others), (1, &Filter { port: Some(80), ..Filter::default() }));
        assert_eq!(split(&others), (Vec::new(), others.clone()));
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        let said = [0, 999, 1000, 12_345, 1_234_567].map(thousands);
        assert_eq!(said, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
