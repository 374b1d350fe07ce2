//! A layout that is not this kernel's is in the hooks' log: they read what cannot be.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch::tested::{
    clock,
    field_offsets::Types,
    hooks::{self, HookLog, Hooks, Interest, LogLevel, Mechanism, Scope},
};
use keepwatch_tests::{
    answer::trace::mechanism,
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan, Road, SocketOption},
    },
    wait::until,
};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracing::subscriber::with_default;

const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_state_that_no_socket_has_is_said_with_the_fields_that_were_read() {
    let mut types = hooks::types().expect("this kernel's types");
    types.layout.skc_state += 1;
    let mut log = log_of(&types);
    let netns = NetworkNamespace::new();
    netns.run(|| drop(connection()));
    let said = log.until("odd_fields");
    assert!(said.contains("family 2"), "what is right is right: {said}");
}

#[test]
fn a_protocol_that_takes_no_tcp_option_and_took_one_is_said() {
    let mut types = hooks::types().expect("this kernel's types");
    types.layout.sk_protocol -= 2;
    let mut log = log_of(&types);
    let tcp = NetworkNamespace::new().run(|| socket::unconnected(Family::V4, &Plan::NOTHING));
    Road::Call.set(&tcp, SocketOption::KeepIdle, 61);
    let said = log.until("odd_socket");
    assert!(said.contains(&format!("process {} (", std::process::id())), "{said}");
}

#[test]
fn a_timer_that_is_in_no_socket_is_said() {
    // The tracepoint knows the callback by what the same offset leads to.
    if !matches!(mechanism().as_str(), "fentry" | "kprobe") {
        return;
    }
    let mut types = hooks::types().expect("this kernel's types");
    types.layout.keepalive_timer += 40;
    // Kernels that type what a hook reads (since 6.2) refuse the hooks with this layout.
    let Ok(mut log) = hooks_with_log(&types) else {
        return;
    };
    let _connection = NetworkNamespace::new().run(connection);
    log.until("timer_without_socket");
}

#[test]
fn of_the_true_layout_nothing_is_said() {
    let mut log = log_of(&hooks::types().expect("this kernel's types"));
    let netns = NetworkNamespace::new();
    let [_listener, client, _accepted] = netns.run(connection);
    Road::Call.set(&client, SocketOption::KeepIdle, 1);
    until("a probe was sent and answered", SOON, || {
        socket::was_probed_since_data(&client).then_some(())
    });
    let said = log.now();
    for kind in ["odd_", "not_tcp", "no_slot", "without_socket", "lost_socket"] {
        assert!(!said.contains(kind), "{said}");
    }
}

/// A connection on loopback that is probed each second.
fn connection() -> [std::os::fd::OwnedFd; 3] {
    let listener = socket::listener(Family::V4, ([127, 0, 0, 1], 0).into(), 1, &Plan::NOTHING);
    let address = socket::local_address(&listener);
    let client = socket::connected(Family::V4, address, &Plan::keepalive(1, 1, 9));
    let accepted = socket::accepted(&listener);
    [listener, client, accepted]
}

/// Hooks with this layout, and what they say.
struct LoggedHooks {
    _hooks: Hooks,
    log: HookLog,
    said: SharedLog,
}

fn log_of(types: &Types) -> LoggedHooks {
    hooks_with_log(types).expect("the hooks load")
}

fn hooks_with_log(types: &Types) -> Result<LoggedHooks, hooks::Error> {
    let mechanism = match mechanism().as_str() {
        "fentry" => Mechanism::Fentry,
        "kprobe" => Mechanism::Kprobe,
        "tracepoint" => Mechanism::Tracepoint,
        _ => Mechanism::Auto,
    };
    let (interest, log) = (Interest::default(), LogLevel::Debug);
    let scope = Scope::Events { ring_bytes: 1 << 20, mechanism, interest, log };
    let mut hooks = Hooks::load_with(scope, types)?;
    let log = hooks.log().expect("the log's maps").expect("it is on");
    Ok(LoggedHooks { _hooks: hooks, log, said: SharedLog::default() })
}

impl LoggedHooks {
    /// All that was said until now.
    fn now(&mut self) -> String {
        let said = self.said.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || said.clone())
            .finish();
        with_default(lines, || self.log.flush(clock::now())).expect("the log can be read");
        let bytes = self.said.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[track_caller]
    fn until(&mut self, word: &str) -> String {
        until(format!("{word} in the log"), SOON, || {
            let said = self.now();
            said.contains(word).then_some(said)
        })
    }
}

#[derive(Clone, Default)]
struct SharedLog(Arc<Mutex<Vec<u8>>>);

impl Write for SharedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
