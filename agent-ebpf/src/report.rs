//! What goes wrong inside the hooks, into the agent's log: by aya-log, limited on each CPU, counted.
//!
//! Off (`--log-hooks`), the level is a constant 0 to the verifier, which then removes each call here. A
//! report is a function of its own, never inlined: its frame is not the hook's, whose stack is small.

use crate::{
    atomic::bump,
    read::{Read as _, at, current_process, with_current_task},
};
use aya_ebpf::{helpers::generated, macros::map, maps::PerCpuArray};
use aya_log_ebpf::macro_support::{Level, level_enabled};
use keepwatch_ebpf::trouble::{LINES_A_WINDOW, Meter, Trouble, WINDOW_BITS};

/// One [`Meter`] a kind, by [`Trouble::number`].
#[map]
static METERS: PerCpuArray<Meter> = PerCpuArray::with_max_entries(Trouble::ALL.len() as u32, 0);

/// Whether looking for what goes wrong is wanted: where it takes more than a hook does anyway.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    level_enabled(Level::Error)
}

/// Counts one more, and says whether it may be written to the log.
#[inline(always)]
fn may_say(kind: Trouble) -> bool {
    // SAFETY: the pointer is this CPU's own and programs do not migrate.
    let Some(meter) = METERS.get_ptr_mut(kind.number()).and_then(|at| unsafe { at.as_mut() })
    else {
        return false;
    };
    bump(&mut meter.met);
    // SAFETY: a helper call.
    let window = unsafe { generated::bpf_ktime_get_ns() } >> WINDOW_BITS;
    if meter.window != window {
        meter.window = window;
        meter.in_window = 0;
    }
    if meter.in_window >= LINES_A_WINDOW {
        return false;
    }
    meter.in_window += 1;
    bump(&mut meter.said);
    true
}

/// A word of up to 8 letters, as a number: text of other lengths is too much for a verifier.
pub(crate) const fn word(text: &str) -> u64 {
    let (mut word, bytes) = (0, text.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        word |= (bytes[at] as u64) << (8 * at);
        at += 1;
    }
    word
}

/// Bytes that are ASCII whatever they were: the reader takes nothing but UTF-8, and escapes what would
/// control a terminal.
#[inline(always)]
fn ascii<const N: usize>(words: [u64; N]) -> [u64; N] {
    words.map(|word| word & 0x7f7f_7f7f_7f7f_7f7f)
}

/// The same as text; the reader leaves out the zeros behind it.
#[inline(always)]
fn text<const N: usize>(words: &[u64; N]) -> &str {
    // SAFETY: any bytes are a value, and those of `ascii` are UTF-8.
    unsafe {
        let bytes = core::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words));
        core::str::from_utf8_unchecked(bytes)
    }
}

/// The name of the current process: of its main thread, as in records.
#[inline(always)]
fn comm() -> [u64; 2] {
    let mut words = [0_u64; 2];
    with_current_task!(|task| {
        task.follow(at!(task_group_leader)).bytes(at!(task_comm), (&raw mut words).cast());
    });
    words
}

macro_rules! reports {
    ($(
        $(#[$doc:meta])*
        $name:ident($($arg:ident: $type:ty),*) is $kind:ident, $level:ident by $log:ident
        $(, $local:ident = $words:expr)?;
        $text:literal $(, $value:expr)*;
    )*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name($($arg: $type),*) {
            #[cold]
            #[inline(never)]
            fn out_of_line($($arg: $type),*) -> i32 {
                const TARGET: &str = Trouble::$kind.name();
                if may_say(Trouble::$kind) {
                    $(let $local = ascii($words);)?
                    aya_log_ebpf::$log!((), target: TARGET, $text $(, $value)*);
                }
                0
            }
            if level_enabled(Level::$level) {
                out_of_line($($arg),*);
            }
        }
    )*};
}

reports! {
    /// A call of setsockopt on what is no socket, as the kernel says too.
    no_socket(fd: i32, level: u32, option: u32, result: i32) is NoSocket, Info by info, by = comm();
        "process {} ({}) called setsockopt({}, {}, {}), which is no socket: error {}",
        current_process(), text(&by), fd, level, option, result;
    /// The same, but the kernel found a socket.
    lost_socket(fd: i32, level: u32, option: u32, result: i32) is LostSocket, Warn by warn, by = comm();
        "process {} ({}) called setsockopt({}, {}, {}) with result {}, and the hook finds no socket there: \
         this call is not shown",
        current_process(), text(&by), fd, level, option, result;
    /// The descriptor leads to something that cannot be a socket of the kernel.
    odd_socket(fd: i32, family: u16, protocol: u16, result: i32) is OddSocket, Error by error, by = comm();
        "process {} ({}) set an option on descriptor {} with result {}; the hook reads family {} and \
         protocol {} there, which cannot be: this call is not shown",
        current_process(), text(&by), fd, result, family, protocol;
    /// The beginning of a call cannot be noted.
    calls_full(error: i64) is CallsFull, Warn by warn, by = comm();
        "process {} ({}) calls setsockopt while the map CALLS has no room (error {}): this call is not shown",
        current_process(), text(&by), error;
    /// A call that ended cannot be forgotten.
    call_stuck(error: i32) is CallStuck, Warn by warn, by = comm();
        "the map CALLS does not let go of a call of process {} ({}) that has ended: error {}",
        current_process(), text(&by), error;
    /// The return of a call whose beginning was not recorded.
    call_unseen() is CallUnseen, Debug by debug, by = comm();
        "a setsockopt call of process {} ({}) returns whose beginning the hooks did not see: it is not shown",
        current_process(), text(&by);
    /// The value that was refused cannot be read.
    no_value(fd: i32, option: u32, result: i32) is NoValue, Warn by warn, by = comm();
        "process {} ({}) set option {} on descriptor {} with result {}, and the hook cannot read the \
         value: the call is shown without it",
        current_process(), text(&by), option, fd, result;
    /// The kernel finds no TCP socket in a hook that is for those alone.
    not_tcp(hook: u64, state: u32) is NotTcp, Error by error, name = [hook];
        "the hook {} was called for a socket in state {} that is no TCP socket to the kernel: it is not shown",
        text(&name), state;
    /// Values that no field of a TCP socket can have.
    odd_fields(record: u64, small: u64, idle: u32, interval: u32, id: u64) is OddFields, Error by error, name = [record];
        "the record {} of socket {:x} has values that cannot be: state {}, family {}, count {}, idle {} and \
         interval {} ticks",
        text(&name), id, small & 0xff, small >> 32, (small >> 8) & 0xff, idle, interval;
    /// A map has lost an element.
    no_slot(map: u64) is NoSlot, Error by error, name = [map];
        "a hook gave up: the map {} has no element 0",
        text(&name);
    /// A timer that is in no TCP socket.
    timer_without_socket(family: u16, protocol: u16, state: u32) is TimerWithoutSocket, Error by error;
        "a keepalive timer runs in what is no TCP socket: family {}, protocol {}, state {}; its fire is \
         counted all the same",
        family, protocol, state;
    /// A timer begins while the one before has not ended.
    fire_unended() is FireUnended, Warn by warn;
        "a keepalive timer begins to run on a CPU where the hooks did not see the one before end: that \
         fire is not shown";
    /// A timer ends that has not begun.
    fire_unbegun() is FireUnbegun, Warn by warn;
        "a keepalive timer has run, and the hooks did not see it begin: this fire is not shown";
}
