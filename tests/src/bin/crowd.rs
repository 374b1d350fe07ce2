//! `crowd serve|connect|both ADDRESS N`: makes N connections with a listener on that address, says
//! `ready`, and holds them until stdin is closed. Keepalive is on in every second one, at both ends.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "part of the tests: what fails here fails the test that asked for it"
)]

use keepwatch_tests::kernel::socket::{self, Family, Keepalive, Plan, Road, SocketOption};
use std::{io::Read as _, net::SocketAddr, os::fd::OwnedFd};

const BACKLOG: i32 = 4096;
const WITH_KEEPALIVE: Plan = Plan { keepalive: Keepalive::Before, ..Plan::NOTHING };

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, count] = words.as_slice() else {
        panic!("expected WHAT ADDRESS N");
    };
    let address: SocketAddr = address.parse().expect("an address");
    let count: u32 = count.parse().expect("a number");
    socket::allow_many();
    let held = match what.as_str() {
        "serve" => serve(address, count),
        "connect" => (0..count).map(|number| connect(address, number)).collect(),
        "both" => both(address, count),
        _ => panic!("expected serve, connect or both"),
    };
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("wait for the end of stdin");
    drop(held);
}

fn serve(address: SocketAddr, count: u32) -> Vec<OwnedFd> {
    let listener = socket::listener(Family::V4, address, BACKLOG, &Plan::NOTHING);
    println!("listening");
    let accepted = (0..count).map(|number| accept(&listener, number)).collect();
    with(accepted, listener)
}

fn both(address: SocketAddr, count: u32) -> Vec<OwnedFd> {
    let listener = socket::listener(Family::V4, address, BACKLOG, &Plan::NOTHING);
    let ends = (0..count).flat_map(|number| {
        let client = connect(address, number);
        [client, accept(&listener, number)]
    });
    with(ends.collect(), listener)
}

fn with(mut ends: Vec<OwnedFd>, listener: OwnedFd) -> Vec<OwnedFd> {
    ends.push(listener);
    ends
}

fn connect(address: SocketAddr, number: u32) -> OwnedFd {
    let plan = if number.is_multiple_of(2) { WITH_KEEPALIVE } else { Plan::NOTHING };
    socket::connected(Family::V4, address, &plan)
}

fn accept(listener: &OwnedFd, number: u32) -> OwnedFd {
    let accepted = socket::accepted(listener);
    if number.is_multiple_of(2) {
        Road::Call.set(&accepted, SocketOption::Keepalive, 1);
    }
    accepted
}
