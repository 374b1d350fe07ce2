//! What is said of a host with a server, a client, one that is leaving and a listener, for each kind of filter that finds nothing.

use super::*;
use crate::model::{
    judgement::{
        idle_limit::{IdleLimit, Limits},
        verdict::Surroundings,
    },
    observed::socket::{Comm, Owner, Socket, State, tests_support::socket},
};

/// A host with three connections that came in to `session`, and two that `app` opened, one of which is being closed.
fn said(filter: serde_json::Value, looks_at: LooksAt) -> Option<String> {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings::new(limits, 250);
    let of = |name: &str, socket: Socket| {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        Socket { owner: Some(Owner { pid: 7, fd: None, comm: Comm::new(comm) }), ..socket }
    };
    let inbound = Socket { direction: Direction::Inbound, ..socket() };
    let mut listener = Socket { state: State::Listen, ..socket() };
    listener.remote.port = 0;
    let all = [
        of("session", inbound),
        of("session", inbound),
        of("session", inbound),
        of("app", socket()),
        of("app", Socket { state: State::LastAck, ..socket() }),
        of("leaving", Socket { state: State::LastAck, ..socket() }),
        of("idle-server", listener),
    ];
    let rows = |filter: &Filter, each: &mut dyn FnMut(&Row)| {
        for socket in &all {
            let owner = socket.owner.as_ref();
            if filter.admits(socket, &around, socket.quiet_ms.into()) && filter.admits_owner(owner)
            {
                each(&Row::new(socket, owner, None, &around, socket.at));
            }
        }
        Ok(())
    };
    instead(&serde_json::from_value(filter).unwrap(), looks_at, rows).unwrap()
}

/// What follows this beginning.
fn after(beginning: &str, said: Option<String>) -> String {
    let said = said.unwrap();
    let beginning = format!("{beginning} has what the filters ask for, and ");
    said.strip_prefix(&beginning).unwrap_or_else(|| panic!("{said}")).to_owned()
}

const CHECK: LooksAt = LooksAt { direction: Some(Direction::Outbound), only_open: true };

#[test]
fn a_server_is_not_answered_with_its_own_name_but_with_the_direction_of_its_connections() {
    let server = || serde_json::json!({ "process": ["session"] });
    let outbound = |filter| after("no open outbound connection", said(filter, CHECK));
    assert_eq!(outbound(server()), "3 inbound ones do: --direction inbound");
    let both = serde_json::json!({ "process": ["session"], "direction": "outbound" });
    assert_eq!(
        outbound(both),
        "without --direction outbound there are 3, without --process session 3"
    );
    assert_eq!(
        outbound(serde_json::json!({ "process": ["sesion"] })),
        "there are 6 without the filters; there is a process session: --process session"
    );
}

#[test]
fn what_is_not_open_or_no_connection_at_all_is_said_to_be() {
    let leaving = said(serde_json::json!({ "process": ["leaving"] }), CHECK);
    let leaving = after("no open outbound connection", leaving);
    assert_eq!(leaving, "1 that does is not open (last_ack)");
    let listens = || serde_json::json!({ "process": ["idle-server"] });
    for (looks_at, what) in
        [(CHECK, "no open outbound connection"), (LooksAt::default(), "no connection")]
    {
        let words = after(what, said(listens(), looks_at));
        assert!(words.starts_with("1 socket that does is no connection (listen)"), "{words}");
    }
}

#[test]
fn what_is_open_and_was_judged_by_no_rule_is_not_called_absent() {
    let app = said(serde_json::json!({ "process": ["app"] }), CHECK).unwrap();
    let expected =
        "no rule of the policy covers the 1 connection that has what the filters ask for";
    assert_eq!(app, expected);
}

#[test]
fn of_several_conditions_the_one_that_leaves_out_all_is_named() {
    let connection = |filter| after("no connection", said(filter, LooksAt::default()));
    let both_there = serde_json::json!({ "process": ["session"], "state": ["last_ack"] });
    assert_eq!(
        after("no socket", said(both_there, LooksAt::default())),
        "without --process session there are 2, without --state last_ack 3"
    );
    let one_is_not = serde_json::json!({ "process": ["session"], "port": [1] });
    assert_eq!(connection(one_is_not), "without --port 1 there are 3");
    let neither = serde_json::json!({ "process": ["sesion"], "port": [1], "pid": [7] });
    assert_eq!(
        connection(neither),
        "nothing has --port 1, nothing has --process sesion; there is a process session: --process session"
    );
}

#[test]
fn a_question_without_a_condition_is_not_explained() {
    assert_eq!(said(serde_json::json!({}), CHECK), None);
    assert_eq!(said(serde_json::json!({ "all": true }), LooksAt::default()), None);
}
