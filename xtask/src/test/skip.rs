//! What tests may leave out on this machine. What stands here not, or is here after all, may not be left
//! out: then the test has failed.

use crate::place;
use std::fs;

/// What a machine may lack, by the first words of `skipped: WHAT, why`, and how to tell that it does.
const MAY_LACK: [(&str, Proof); 24] = [
    ("32-bit system calls", Proof::Symbols(&["entry_INT80_compat", "do_int80_emulation"])),
    // Since 6.7.
    ("io_uring commands", Proof::Symbols(&["io_uring_cmd_sock"])),
    // Since 5.12.
    ("socket cookies", Proof::Symbols(&["bpf_get_socket_ptr_cookie"])),
    ("MPTCP", Proof::Symbols(&["mptcp_sendmsg"])),
    // A module, loaded when it is first asked for.
    ("kTLS", Proof::Symbols(&["tls_sw_sendmsg"])),
    // Programs of users. Those that set-up brings along, and Python, do not stand here.
    ("bash", Proof::Program("bash")),
    ("curl", Proof::Program("curl")),
    ("fish", Proof::Program("fish")),
    ("groff", Proof::Program("groff")),
    ("node", Proof::Program("node")),
    ("psql", Proof::Program("psql")),
    ("zsh", Proof::Program("zsh")),
    // Which of both a machine mounts, and whether a container may make one, is its owner's choice.
    ("cgroup v1", Proof::Test),
    ("cgroup v2", Proof::Test),
    // Built in or not, and switched on at boot or not: the test asks the kernel.
    ("landlock", Proof::Test),
    // Depends on the kernel and on a sysctl.
    ("an agent without capabilities", Proof::Test),
    // These compare with the kernel's own list of what is built in.
    ("a locked socket", Proof::Test),
    // It ends in time only since 6.15.
    ("a window that stays closed", Proof::Test),
    // A machine's owner has set it: only a guest's is ours to set.
    ("a wall clock that may be set", Proof::Test),
    ("Yama that may be set", Proof::Test),
    ("a middlebox", Proof::Test),
    ("ss -K", Proof::Test),
    // Some virtual machines run no tracing in some tasks (docs/ARCHITECTURE.md): another counter has proved it.
    ("hooks that run in every task", Proof::Test),
    // Kernels in which a hook cannot ask a file for its socket.
    ("walks that do not look at the protocol", Proof::Test),
];

/// What shows that a machine has something.
enum Proof {
    /// One of these kernel symbols.
    Symbols(&'static [&'static str]),
    Program(&'static str),
    /// The test itself has asserted that it is not here.
    Test,
}

/// What this machine has, asked without the tests.
pub(super) struct HostEquipment {
    pub(super) symbols: String,
    pub(super) has_program: fn(&str) -> bool,
}

impl HostEquipment {
    /// Looks at this machine.
    pub(super) fn examine() -> Self {
        // Everybody may read the names. Where nobody may, symbols excuse everything.
        let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        Self { symbols, has_program: place::has_program }
    }

    /// Why a test may not leave out what it left out, if it may not.
    pub(super) fn objection(&self, skipped: &str) -> Option<String> {
        let what = skipped.split(',').next().unwrap_or_default();
        let Some((_, sign)) = MAY_LACK.iter().find(|(name, _)| *name == what) else {
            return Some(format!(
                "left out, and no machine may lack that (xtask/src/test/skip.rs): {skipped}"
            ));
        };
        let is_here = match sign {
            Proof::Symbols(names) => names.iter().any(|name| self.has_symbol(name)),
            Proof::Program(name) => (self.has_program)(name),
            Proof::Test => false,
        };
        is_here.then(|| format!("left out although this machine has it: {skipped}"))
    }

    fn has_symbol(&self, name: &str) -> bool {
        self.symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::HostEquipment;

    fn machine() -> HostEquipment {
        let symbols = "0 T io_uring_cmd_sock\n0 t do_int80_emulation_not\n".into();
        HostEquipment { symbols, has_program: |name| name == "node" }
    }

    #[test]
    fn what_the_machine_lacks_may_be_left_out() {
        for skipped in ["32-bit system calls, off", "psql, absent", "cgroup v1, not mounted"] {
            assert_eq!(machine().objection(skipped), None);
        }
    }

    #[test]
    fn what_it_has_may_not() {
        for skipped in ["io_uring commands, refused", "node, not looked for well"] {
            let objection = machine().objection(skipped).expect("an objection");
            assert!(objection.contains("has it") && objection.contains(skipped), "{objection}");
        }
    }

    #[test]
    fn what_every_machine_has_may_not_either() {
        for skipped in ["python3, absent", "", "io_uring commands of old"] {
            assert!(machine().objection(skipped).is_some_and(|why| why.contains("no machine")));
        }
    }
}
