//! A second counter of keepalive probes, which shares no code with keepwatch: two programs of some twenty
//! instructions, on the timer's tracepoints. What it counts, the kernel's tracing did show; so a probe that
//! the kernel counts and this does not was hidden from everybody.

use crate::{kernel::sys, tool};
use keepwatch::tested::{hooks, host};
use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

/// Counts from when it is made until it is dropped.
#[derive(Debug)]
pub struct ProbeCounter {
    map: OwnedFd,
    _attached: [[OwnedFd; 2]; 2],
}

impl ProbeCounter {
    /// Of the sockets of a network namespace, by its inode number. Fails where this process may not know the
    /// kernel's addresses, or the kernel has no tracepoints for it.
    pub fn new(netns: u32) -> io::Result<Self> {
        let callback = tool::kernel_symbol("tcp_keepalive_timer").filter(|address| *address != 0);
        let callback = callback
            .ok_or_else(|| io::Error::other("/proc/kallsyms does not show tcp_keepalive_timer"))?;
        host::lift_memory_lock();
        let layout = hooks::types().map_err(io::Error::other)?.layout;
        let map = sys::bpf_value_by_cpu(VALUE_SIZE)?;
        let facts = Facts {
            map: map.as_raw_fd(),
            callback,
            netns,
            function: layout.timer_function.cast_signed(),
            probes: layout.icsk_probes_out.cast_signed() - layout.keepalive_timer.cast_signed(),
            net: layout.skc_net.cast_signed() - layout.keepalive_timer.cast_signed(),
            inode: layout.net_inum.cast_signed(),
        };
        let exit = sys::bpf_on_raw_tracepoint(c"timer_expire_exit", &at_exit(&facts))?;
        let entry = sys::bpf_on_raw_tracepoint(c"timer_expire_entry", &at_entry(&facts))?;
        Ok(Self { map, _attached: [exit, entry] })
    }

    /// Probes that were sent so far.
    #[track_caller]
    pub fn n_sent(&self) -> u64 {
        let values = sys::bpf_values(self.map.as_fd(), VALUE_SIZE as usize).expect("our own map");
        values.chunks(VALUE_SIZE as usize / 8).filter_map(|value| value.get(3)).sum()
    }
}

/// What stands in the instructions.
struct Facts {
    map: i32,
    callback: u64,
    netns: u32,
    /// From a timer to its function.
    function: i32,
    /// From a keepalive timer to its socket's unanswered probes, and to its namespace.
    probes: i32,
    net: i32,
    /// From a namespace to its inode number.
    inode: i32,
}

/// The value of each CPU, four numbers: the timer that runs, its socket's unanswered probes before, room to
/// read into, the probes that were sent.
const VALUE_SIZE: u32 = 32;
const TIMER: i16 = 0;
const BEFORE: i16 = 8;
const ROOM: i16 = 16;
const SENT: i16 = 24;

/// A keepalive timer of the namespace begins: notes it.
fn at_entry(facts: &Facts) -> Vec<u64> {
    let mut program = BpfProgram::default();
    program.begin(facts.map);
    program.read(ROOM, 8, facts.function);
    program.go_on_if(ROOM, facts.callback);
    program.read(ROOM, 8, facts.net);
    program.read_behind(ROOM, 4, facts.inode);
    program.go_on_if(ROOM, facts.netns.into());
    program.read(BEFORE, 1, facts.probes);
    program.add(0x7b, 9, 6, TIMER, 0); // store the timer
    program.end()
}

/// It ends: counts it if one probe more is unanswered.
fn at_exit(facts: &Facts) -> Vec<u64> {
    let mut program = BpfProgram::default();
    program.begin(facts.map);
    program.add(0x79, 1, 9, TIMER, 0);
    program.leave_if_not(1, 6);
    program.add(0x7a, 9, 0, TIMER, 0);
    program.read(ROOM, 1, facts.probes);
    program.add(0x79, 1, 9, BEFORE, 0);
    program.add(0x07, 1, 0, 0, 1);
    program.add(0x79, 2, 9, ROOM, 0);
    program.leave_if_not(1, 2);
    program.add(0x79, 1, 9, SENT, 0);
    program.add(0x07, 1, 0, 0, 1);
    program.add(0x7b, 9, 1, SENT, 0);
    program.end()
}

/// Instructions (Documentation/bpf/standardization/instruction-set.rst). Register 6 is the timer, 9 this CPU's
/// value.
#[derive(Default)]
struct BpfProgram {
    instructions: Vec<u64>,
    /// Jumps to the end, wherever that will be.
    jumps: Vec<usize>,
}

impl BpfProgram {
    fn add(&mut self, operation: u8, to: u8, from: u8, offset: i16, value: i32) {
        let [low, high] = offset.to_le_bytes();
        let [a, b, c, d] = value.to_le_bytes();
        let bytes = [operation, from << 4 | to, low, high, a, b, c, d];
        self.instructions.push(u64::from_le_bytes(bytes));
    }

    /// A value of 64 bits, or the address of a map, which takes two instructions.
    fn load(&mut self, to: u8, kind: u8, value: u64) {
        let [low, high] = [value & u64::from(u32::MAX), value >> 32]
            .map(|half| u32::try_from(half).expect("half of it").cast_signed());
        self.add(0x18, to, kind, 0, low);
        self.add(0, 0, 0, 0, high);
    }

    /// The tracepoint's argument into 6, this CPU's value into 9.
    fn begin(&mut self, map: i32) {
        const MAP_BY_DESCRIPTOR: u8 = 1;
        const LOOK_UP: i32 = 1;
        self.add(0x79, 6, 1, 0, 0);
        self.add(0x62, 10, 0, -4, 0); // key 0, on the stack
        self.load(1, MAP_BY_DESCRIPTOR, u64::from(map.cast_unsigned()));
        self.add(0xbf, 2, 10, 0, 0);
        self.add(0x07, 2, 0, 0, -4);
        self.add(0x85, 0, 0, 0, LOOK_UP);
        self.jumps.push(self.instructions.len());
        self.add(0x15, 0, 0, 0, 0); // to the end if there is none
        self.add(0xbf, 9, 0, 0, 0);
    }

    /// Reads bytes at an offset from the timer into the value, over 0.
    fn read(&mut self, into: i16, n: i32, offset: i32) {
        self.add(0xbf, 3, 6, 0, 0);
        self.read_from_3(into, n, offset);
    }

    /// The same from the address that was read before.
    fn read_behind(&mut self, into: i16, n: i32, offset: i32) {
        self.add(0x79, 3, 9, into, 0);
        self.read_from_3(into, n, offset);
    }

    fn read_from_3(&mut self, into: i16, n: i32, offset: i32) {
        const PROBE_READ_KERNEL: i32 = 113;
        self.add(0x07, 3, 0, 0, offset);
        self.add(0x7a, 9, 0, into, 0);
        self.add(0xbf, 1, 9, 0, 0);
        self.add(0x07, 1, 0, 0, into.into());
        self.add(0xb7, 2, 0, 0, n);
        self.add(0x85, 0, 0, 0, PROBE_READ_KERNEL);
    }

    fn go_on_if(&mut self, at: i16, is: u64) {
        self.add(0x79, 1, 9, at, 0);
        self.load(2, 0, is);
        self.leave_if_not(1, 2);
    }

    fn leave_if_not(&mut self, one: u8, other: u8) {
        self.jumps.push(self.instructions.len());
        self.add(0x5d, one, other, 0, 0);
    }

    fn end(mut self) -> Vec<u64> {
        let end = self.instructions.len();
        for jump in &self.jumps {
            let offset = u64::try_from(end - jump - 1).expect("a short program");
            if let Some(instruction) = self.instructions.get_mut(*jump) {
                *instruction |= offset << 16;
            }
        }
        self.add(0xb7, 0, 0, 0, 0);
        self.add(0x95, 0, 0, 0, 0);
        self.instructions
    }
}
