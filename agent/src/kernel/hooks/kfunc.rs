//! Writes into the hooks' object which kernel function they call: aya knows helpers and maps only.

use keepwatch_ebpf::layout::CAST;
use zerocopy::IntoBytes as _;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL` (include/uapi/linux/bpf.h), in the source register's half of the byte.
const OF_KERNEL: u8 = 2 << 4;
/// `BPF_ALU64 | BPF_MOV`: r0 = 0.
const MOVE: u8 = 0xb7;

/// A copy of `object`, aligned as ELF readers want it, in which every [`CAST`] calls the kernel function
/// with this BTF id (`add_kfunc_call` in kernel/bpf/verifier.c), or for 0 nothing.
pub(super) fn with_cast(object: &[u8], id: u32) -> Vec<u64> {
    let mut copy = vec![0_u64; object.len().div_ceil(size_of::<u64>())];
    copy.as_mut_bytes().iter_mut().zip(object).for_each(|(to, &from)| *to = from);
    let built = instruction(CALL, 0, CAST);
    let linked = match id {
        0 => instruction(MOVE, 0, 0),
        id => instruction(CALL, OF_KERNEL, id.cast_signed()),
    };
    // Instructions are 8 bytes long and aligned to that, in memory and in the file.
    copy.iter_mut().filter(|word| **word == built).for_each(|word| *word = linked);
    copy
}

/// Operation, registers, offset 0, immediate value.
const fn instruction(operation: u8, registers: u8, immediate: i32) -> u64 {
    let [a, b, c, d] = immediate.to_ne_bytes();
    u64::from_ne_bytes([operation, registers, 0, 0, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hooks::OBJECT;
    use object::{Object as _, ObjectSection as _, SectionKind};

    const HELPER: u64 = 0x0000_0005_0000_0085;
    const BUILT: u64 = 0x6b77_0001_0000_0085;

    #[test]
    fn the_placeholder_and_nothing_else_becomes_a_call_of_the_kernels_function() {
        let object = [[BUILT, HELPER].as_bytes(), b"rest"].concat();
        let rest = u64::from_ne_bytes(*b"rest\0\0\0\0");
        assert_eq!(with_cast(&object, 7), [0x0000_0007_0000_2085, HELPER, rest]);
        assert_eq!(with_cast(&object, 0), [0x0000_0000_0000_00b7, HELPER, rest]);
    }

    #[test]
    fn the_hooks_as_built_have_the_placeholder_in_code_and_nowhere_else() {
        let object = super::super::tests::object();
        let code = object.sections().filter(|section| section.kind() == SectionKind::Text);
        let code: Vec<&[u8]> = code.filter_map(|section| section.data().ok()).collect();
        let in_code: usize = code.into_iter().map(n_built).sum();
        assert!(in_code > 0);
        assert_eq!(n_built(OBJECT), in_code, "`with_cast` writes over what is no instruction");
    }

    /// Words that `with_cast` takes for the placeholder.
    fn n_built(bytes: &[u8]) -> usize {
        bytes.chunks_exact(size_of::<u64>()).filter(|word| *word == BUILT.as_bytes()).count()
    }
}
