//! What the peer has closed: a leak, or a half that is still used. And what the peer acknowledged and did not answer.

use crate::watched_path::WatchedPath;
use keepwatch_tests::{
    answer::agent::sockets_from_kernel,
    kernel::socket::{self, Plan},
    network::ending::{self, exchange},
    wait,
};
use std::time::Duration;

const SOON: Duration = Duration::from_mins(1);

#[test]
fn peer_closed_counts_from_the_fin_whatever_answers_probes_since() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::keepalive(1, 1, 120));
    exchange(&ends.client, &ends.accepted);
    watched.until(ends.local, "is known", |_| true);
    socket::end_sending(&ends.accepted);
    let row = watched.until(ends.local, "is closed by the peer for 6 s", |row| {
        row.condition.as_deref() == Some("peer_closed")
            && row.condition_seconds.is_some_and(|since| since >= 6.0)
    });
    assert!(row.silent_seconds < 3.0, "its probes are answered: {row:?}");
    assert!(!row.condition_at_least, "its FIN was seen: {row:?}");
    assert_eq!(row.condition_seconds, row.peer_closed_seconds);
    // A first look shows only for how long nothing has come.
    let local = ends.local.to_string();
    let mut first = sockets_from_kernel(&["--netns", &row.netns.to_string()]).into_iter();
    let first = first.find(|row| row.local.to_string() == local).expect("it lives");
    assert!(first.condition_at_least, "{first:?}");
    assert!(first.condition_seconds < row.condition_seconds, "{first:?}");
}

#[test]
fn a_half_that_the_program_goes_on_using_is_no_leak_until_it_stops() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    watched.until(ends.local, "is known", |_| true);
    socket::end_sending(&ends.accepted);
    let row = watched.until(ends.local, "goes on sending", |row| {
        socket::send(&ends.client, b"more of the answer");
        row.peer_closed_seconds.is_some_and(|since| since >= 5.0)
    });
    assert_eq!((row.state.as_str(), row.condition.as_deref()), ("close_wait", Some("fine")));
    let said = watched.why(&row.id);
    assert!(said.contains("no leak"), "{said}");
    // It stops, and does not close.
    let row =
        watched.until(ends.local, "is left", |row| row.condition.as_deref() == Some("peer_closed"));
    let (since, sent) = (row.condition_seconds, row.spoke_last_seconds);
    assert!(since > sent && since.is_some_and(|since| since >= 10.0), "{row:?}");
}

#[test]
fn data_that_is_acknowledged_and_not_answered_is_said_to_be_so() {
    let watched = WatchedPath::cable();
    let asked = watched.path.connect(&Plan::keepalive(2, 2, 5));
    let answered = watched.path.connect(&Plan::keepalive(2, 2, 5));
    for ends in [&asked, &answered] {
        exchange(&ends.client, &ends.accepted);
    }
    // In another tick than the answer before.
    ending::wait_for_quiet(&asked.client, Duration::from_millis(100));
    socket::send(&asked.client, b"a request");
    socket::send(&answered.accepted, b"the rest of the answer");
    let row = watched.until(asked.local, "is not answered", |row| {
        row.spoke_last_seconds.is_some_and(|ago| ago >= 5.0)
    });
    assert_eq!(row.condition.as_deref(), Some("fine"), "{row:?}");
    assert!(row.silent_seconds < 4.0, "its host answers probes: {row:?}");
    let said = watched.why(&row.id);
    assert!(said.contains("has acknowledged the last data of 1 connection of "), "{said}");
    let idle = watched.row(answered.local).expect("it lives");
    assert_eq!(idle.spoke_last_seconds, None, "the answer came last: {idle:?}");
    let said = watched.why(&idle.id);
    assert!(!said.contains("acknowledged"), "{said}");
    // What the server sent is the answer, and nobody owes one to that.
    let far = watched.path.far.inode().to_string();
    let of_server = watched.agent.sockets(&["--direction", "inbound", "--netns", &far]);
    let of_server =
        of_server.into_iter().find(|row| row.remote == answered.local).expect("it lives");
    assert!(of_server.spoke_last_seconds.is_some_and(|ago| ago >= 3.0), "{of_server:?}");
    let said = watched.why(&of_server.id);
    assert!(!said.contains("acknowledged"), "{said}");
}

#[test]
fn a_first_request_is_known_to_be_unanswered_although_it_went_out_in_the_tick_of_the_handshake() {
    let watched = WatchedPath::cable();
    // A tick has up to 10 ms: of several some meet it.
    let asked = [(); 6].map(|()| {
        let ends = watched.path.connect(&Plan::NOTHING);
        socket::send(&ends.client, b"a request");
        ends
    });
    let said_nothing = watched.path.connect(&Plan::NOTHING);
    for ends in &asked {
        watched.until(ends.local, "was asked 3 s ago", |row| {
            row.spoke_last_seconds.is_some_and(|ago| ago >= 3.0)
        });
    }
    let row = watched.row(said_nothing.local).expect("it lives");
    assert_eq!(row.spoke_last_seconds, None, "{row:?}");
}

#[test]
fn a_request_that_the_client_gave_up_waiting_for_is_told_after_its_end_and_an_answered_one_is_not()
{
    let watched = WatchedPath::cable();
    let [asked, reset, answered] = [(); 3].map(|()| watched.path.connect(&Plan::NOTHING));
    for ends in [&asked, &reset, &answered] {
        exchange(&ends.client, &ends.accepted);
        ending::wait_for_quiet(&ends.client, Duration::from_millis(100));
        socket::send(&ends.client, b"a request");
    }
    socket::send(&answered.accepted, b"an answer");
    let [asked_id, reset_id, answered_id] = [&asked, &reset, &answered].map(|ends| {
        let row = watched.until(ends.local, "was asked 5 s ago", |row| row.quiet_seconds >= 5.0);
        row.id
    });
    ending::reset(reset.client);
    drop((asked.client, answered.client));
    let ended = |id: &str| {
        wait::until("its end is told", SOON, || {
            let said = watched.why(id);
            said.contains(" 1 dead").then_some(said)
        })
    };
    for id in [&asked_id, &reset_id] {
        let said = ended(id);
        assert!(said.contains("had acknowledged the last data of 1 connection of "), "{said}");
        assert!(said.contains("until this host closed it"), "{said}");
    }
    let said = ended(&answered_id);
    assert!(!said.contains("acknowledged"), "{said}");
}

#[test]
fn an_answer_that_the_program_does_not_read_is_said_to_wait_here_and_one_that_it_has_read_is_not() {
    let watched = WatchedPath::cable();
    let [unread, read] = [(); 2].map(|()| watched.path.connect(&Plan::keepalive(2, 2, 5)));
    for ends in [&unread, &read] {
        exchange(&ends.client, &ends.accepted);
        socket::send(&ends.accepted, b"an answer");
    }
    ending::drain(&read.client);
    let [unread, read] = [unread.local, read.local]
        .map(|local| watched.until(local, "is watched", |row| row.watched_seconds >= 7.0));
    assert!(unread.unread_seconds.is_some_and(|seconds| seconds >= 6.0), "{unread:?}");
    assert_eq!(read.unread_seconds, None, "{read:?}");
    let said = watched.why(&unread.id);
    assert!(said.contains("has not read what came from 10.77.0.2:2717"), "{said}");
    let said = watched.why(&read.id);
    assert!(!said.contains("has not read"), "{said}");
}
