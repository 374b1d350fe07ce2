//! `crowd serve|connect|both|idle ADDRESS N`: makes N connections with a listener on that address, says
//! `ready`, and holds them until stdin is closed. Keepalive is on in every second one, at both ends; with `idle` in none.
//!
//! `crowd load ADDRESS WHAT` first loads something: a library (a file that it maps to execute), a file with `.jar` in its
//! name (which it opens), `go` (memory where Go's runtime has its heap) or `nothing`. Then it connects, sends a word, and another for
//! each line of stdin.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "part of the tests: what fails here fails the test that asked for it"
)]

use keepwatch_tests::kernel::memory;
use keepwatch_tests::kernel::socket::{self, Family, Keepalive, Plan, Road, SocketOption};
use std::{
    fs::File,
    io::{Read as _, stdin},
    net::SocketAddr,
    os::fd::OwnedFd,
};

const BACKLOG: i32 = 4096;
const WITH_KEEPALIVE: Plan = Plan { keepalive: Keepalive::Before, ..Plan::NOTHING };

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, count] = words.as_slice() else {
        panic!("expected WHAT ADDRESS N");
    };
    let address: SocketAddr = address.parse().expect("an address");
    if what == "load" {
        load(address, count);
        return;
    }
    let count: u32 = count.parse().expect("a number");
    socket::allow_many();
    let held = match what.as_str() {
        "serve" => serve(address, count),
        "connect" => (0..count).map(|number| connect(address, number)).collect(),
        "both" => both(address, count),
        "idle" => {
            (0..count).map(|_| socket::connected(Family::V4, address, &Plan::NOTHING)).collect()
        }
        _ => panic!("expected serve, connect, both or idle"),
    };
    println!("ready");
    stdin().read_to_end(&mut Vec::new()).expect("wait for the end of stdin");
    drop(held);
}

fn load(address: SocketAddr, what: &str) {
    let jar = match what {
        "nothing" => None,
        "go" => {
            memory::take(memory::GO_HEAP).expect("memory at that address");
            None
        }
        path => {
            let file = File::open(path).expect("a file");
            let is_jar = path.contains(".jar");
            if !is_jar {
                memory::load(&file).expect("map the file");
            }
            is_jar.then_some(file)
        }
    };
    let client = socket::connected(Family::V4, address, &Plan::NOTHING);
    socket::send(&client, b"word");
    for line in stdin().lines() {
        line.expect("a line");
        socket::send(&client, b"more");
    }
    drop(jar);
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
