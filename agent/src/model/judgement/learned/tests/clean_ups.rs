//! Clean-ups by the clock: many connections, one time of day, several days.

use super::*;

fn owned(id: u64, number: u8, name: &[u8]) -> Socket {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    let owner = Some(Owner { pid: 7, fd: None, comm: Comm::new(comm) });
    Socket { id: SocketId(id), owner, ..peer(number) }
}

/// A busy connection that met silence: heard last at `second`.
fn cut(learned: &mut Learned, socket: &Socket, second: u64) {
    let cause = Cause::RetransmitTimeout;
    let death = Death { cause, quiet_ms: 1000, silent_ms: 900_000, ..idle_drop(0) };
    die(learned, socket, second + 900, &death);
}

/// The firewall forgets everything: connections of three peers, busy, reset, and quiet ones that find out later.
fn purge(learned: &mut Learned, second: u64, names: [&[u8]; 2]) {
    for number in 1..=3 {
        for name in names {
            cut(learned, &owned(1, number, name), second + u64::from(number));
        }
    }
    let reset = Death { cause: Cause::PeerReset, ..idle_drop(300) };
    die(learned, &owned(2, 4, names[0]), second + 2, &reset);
    die(learned, &owned(3, 4, names[1]), second + 4000, &idle_drop(7200));
}

#[test]
fn what_dies_together_at_midnight_on_several_days_is_a_clean_up_and_no_limit() {
    let mut learned = learned();
    for (n, confidence) in [(1, None), (2, Some(Confidence::Likely)), (3, Some(Confidence::Sure))] {
        purge(&mut learned, n * DAY - 5 + n * 4, [b"mongod", b"cron"]);
        let rows = clean_up_rows(&learned, n * DAY + 2 * HOUR);
        assert_eq!(rows.first().map(|row| row.confidence), confidence, "after {n} nights");
    }
    let row = clean_up_rows(&learned, 4 * DAY).remove(0);
    assert_eq!((row.time_of_day.as_str(), row.days, row.connections), ("00:00", 3, 24));
    assert_eq!(row.peers, ["172.16.0.1", "172.16.0.2", "172.16.0.3", "172.16.0.4"]);
    assert!(row.meaning.contains("at 00:00 (3 days, 24 connections)"), "{}", row.meaning);
    assert!(row.meaning.contains("Nothing prevents it"), "{}", row.meaning);
    assert!(row.meaning.contains("or jobs of these programs or their peers"), "{}", row.meaning);
    assert!(limit_rows(&learned, 4 * DAY).is_empty(), "quiet ones died of it, and of no limit");
}

#[test]
fn the_time_of_day_is_that_of_the_hosts_zone() {
    let mut learned = Learned::new(Home { zone_ms: 5_400_000, ..learned().home });
    for n in 1..=2 {
        purge(&mut learned, n * DAY - 5400, [b"mongod", b"cron"]);
    }
    assert_eq!(clean_up_rows(&learned, 3 * DAY)[0].time_of_day, "00:00");
}

#[test]
fn one_outage_and_two_at_different_times_are_no_clean_up() {
    let mut learned = learned();
    purge(&mut learned, DAY, [b"mongod", b"cron"]);
    purge(&mut learned, DAY + MINUTE * 2, [b"mongod", b"cron"]);
    assert!(clean_up_rows(&learned, 2 * DAY).is_empty(), "one day");
    purge(&mut learned, 2 * DAY + 14 * HOUR, [b"mongod", b"cron"]);
    assert!(clean_up_rows(&learned, 3 * DAY).is_empty(), "two deploys");
}

#[test]
fn a_restart_of_one_peer_each_night_is_no_clean_up() {
    let mut learned = learned();
    for n in 1..=4 {
        for id in 0..20 {
            cut(&mut learned, &owned(id, 9, b"mongod"), n * DAY + id);
        }
    }
    assert!(clean_up_rows(&learned, 5 * DAY).is_empty());
}

#[test]
fn what_is_of_one_process_may_be_a_job_of_its_own() {
    let mut learned = learned();
    for n in 1..=5 {
        purge(&mut learned, n * DAY + HOUR, [b"backup", b"backup"]);
    }
    let row = clean_up_rows(&learned, 6 * DAY).remove(0);
    assert_eq!((row.process.as_deref(), row.confidence), (Some("backup"), Confidence::Likely));
    assert!(row.meaning.contains("or a job of backup"), "{}", row.meaning);
}

/// A pool that wakes up each morning and finds that the path has forgotten its quiet connections.
#[test]
fn quiet_connections_that_are_found_dead_at_the_same_time_each_day_were_lost_at_any() {
    let mut learned = learned();
    for n in 1..=5 {
        for number in 1..=6 {
            die(&mut learned, &owned(1, number, b"java"), n * DAY + 8 * HOUR, &idle_drop(30_000));
        }
        assert!(clean_up_rows(&learned, n * DAY + 9 * HOUR).is_empty());
    }
    assert_eq!(limit_rows(&learned, 6 * DAY).len(), 6);
}

#[test]
fn where_connections_are_reset_in_masses_all_day_the_same_time_of_day_is_chance() {
    let mut learned = learned();
    let reset = Death { cause: Cause::PeerReset, ..idle_drop(5) };
    for n in 0..3 * 24 * 12 {
        for number in 1..=4 {
            die(&mut learned, &owned(n, number, b"proxy"), DAY + n * 5 * MINUTE, &reset);
        }
    }
    assert!(clean_up_rows(&learned, 5 * DAY).is_empty());
    assert!(learned.take_lessons(at(5 * DAY), true).iter().all(|lesson| match lesson {
        Lesson::MassEndings(endings) => endings.len() <= 256,
        Lesson::Peer(..) => true,
    }));
}

#[test]
fn a_clean_up_that_was_told_can_be_remembered_by_another() {
    let mut before = learned();
    purge(&mut before, DAY, [b"mongod", b"cron"]);
    let lessons = before.take_lessons(at(DAY + 2 * HOUR), true);
    assert!(lessons.iter().any(|it| matches!(it, Lesson::MassEndings(all) if all.len() == 1)));
    let mut after = Learned::new(before.home);
    after.remember(lessons, at(DAY + 3 * HOUR));
    assert!(clean_up_rows(&after, DAY + 3 * HOUR).is_empty());
    purge(&mut after, 2 * DAY, [b"mongod", b"cron"]);
    assert_eq!(clean_up_rows(&after, 2 * DAY + 2 * HOUR)[0].days, 2);
}
