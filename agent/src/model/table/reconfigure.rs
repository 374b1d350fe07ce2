//! A change of what the user has configured, while the table is in use.

use super::{Table, owner_label::OwnerLabels};
use crate::model::{
    judgement::{idle_limit::Limits, verdict::Surroundings},
    observed::socket::Time,
};
use std::sync::Arc;

impl Table {
    /// The surroundings of verdicts.
    pub fn surroundings(&self) -> Arc<Surroundings> {
        Arc::clone(&self.around)
    }

    /// From now on these limits hold, and metrics name owners by these labels. What was learned stays, what has died stays
    /// counted by the verdict that it had, and paths keep their place in the counts by their names.
    pub fn reconfigure(&mut self, limits: Limits, labels: OwnerLabels, now: Time) {
        let limits = limits.numbered_like(&self.around.limits);
        let learned = self.learned.limits(now);
        let limits = limits.with_learned(learned, self.learned.netns()).unwrap_or(limits);
        let around = Arc::new(Surroundings { limits, ..(*self.around).clone() });
        self.count_anew(&around, None);
        self.around = around;
        self.learned_seconds = self.learned.seconds_of_paths(&self.around.limits, now);
        if labels != self.owners.roll.labels() {
            self.owners.roll.relabel(labels);
            self.tally.relabel(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            idle_limit::{ConfiguredPath, IdleLimit},
            verdict::Verdict,
        },
        observed::{
            ending::Ending,
            event::Event,
            setting::OwnSettings,
            socket::{Socket, SocketId, State, tests_support::socket},
        },
        table::{owner_label::OwnerLabel, tests::table},
    };

    fn limits(paths: &[(&str, &str, u32)]) -> Limits {
        let path = |&(name, peers, seconds): &(&str, &str, u32)| ConfiguredPath {
            name: name.to_owned(),
            peers: peers.parse().unwrap(),
            port: None,
            limit: IdleLimit { seconds, preset: None },
        };
        Limits::new(paths.iter().map(path).collect(), IdleLimit::default(), false)
    }

    fn verdicts(table: &Table) -> Vec<(Verdict, String)> {
        let totals = table.totals();
        let around = totals.around.as_ref().unwrap();
        let name = |number| around.limits.name(number).to_owned();
        totals.sockets.keys().map(|series| (series.verdict, name(series.path))).collect()
    }

    #[test]
    fn verdicts_follow_new_limits_and_what_died_stays_counted_with_its_path() {
        let mut table = table();
        let own = OwnSettings { idle_seconds: 120, ..OwnSettings::default() };
        let probed = Socket { keepalive: true, own, ..socket() };
        let labels = OwnerLabels::default();
        table.apply(Event::Seen(probed));
        let net = format!("{}/32", probed.remote.addr.to_canonical());
        table.reconfigure(limits(&[("db", &net, 90)]), labels, Time(0));
        assert_eq!(verdicts(&table), [(Verdict::Late, "db".to_owned())]);
        let dead = Socket { id: SocketId(99), ..probed };
        table.apply(Event::Seen(dead));
        let closed = Socket { state: State::Close, ..dead };
        let ending = Ending::default();
        table.apply(Event::StateChange { socket: closed, old: State::Established, ending });
        table.settle(Time(u64::MAX / 2));

        table.reconfigure(limits(&[("a", "0.0.0.0/0", 900), ("web", &net, 600)]), labels, Time(0));
        assert_eq!(verdicts(&table), [(Verdict::Protected, "web".to_owned())]);
        let totals = table.totals();
        let paths: Vec<&str> = totals
            .tally
            .deaths
            .iter()
            .map(|((.., path), ..)| totals.around.as_ref().unwrap().limits.name(path))
            .collect();
        assert_eq!(paths, ["db"], "it died on the path that was called so");
        table.reconfigure(limits(&[]), labels, Time(0));
        assert_eq!(verdicts(&table), [(Verdict::Protected, String::new())]);
    }

    #[test]
    fn owners_are_named_by_new_labels() {
        let mut table = table();
        let owner = crate::model::observed::socket::Owner {
            pid: 7,
            fd: Some(3),
            comm: crate::model::observed::socket::Comm::new(*b"nginx\0\0\0\0\0\0\0\0\0\0\0"),
        };
        table.apply(Event::Seen(Socket { owner: Some(owner), ..socket() }));
        let names = |table: &Table| -> Vec<String> {
            let totals = table.totals();
            totals.sockets.keys().map(|series| series.owner.values().join("|")).collect()
        };
        assert_eq!(names(&table), ["|||nginx"]);
        let around = table.surroundings();
        table.reconfigure(
            around.limits.clone(),
            OwnerLabels::new(&[OwnerLabel::Workload]),
            Time(0),
        );
        assert_eq!(names(&table), ["|||"]);
        table.reconfigure(around.limits.clone(), OwnerLabels::default(), Time(0));
        assert_eq!(names(&table), ["|||nginx"]);
    }
}
