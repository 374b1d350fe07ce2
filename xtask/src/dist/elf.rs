//! Reading of a program whether the kernel alone starts it.

/// Whether an ELF file asks for no interpreter: then the kernel alone starts it, on any distribution.
pub(crate) fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, len: usize| {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        let number = bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(number).ok()
    };
    let segments = || -> Option<bool> {
        let (offset, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
        let kinds = (0..count).map(|n| word(offset + n * size, 4));
        let mut any = false;
        for kind in kinds {
            any = true;
            if kind? == usize::try_from(PT_INTERP).ok()? {
                return Some(false);
            }
        }
        Some(any)
    };
    elf.starts_with(b"\x7fELF\x02\x01") && segments().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::is_static;

    #[test]
    fn a_program_that_needs_a_loader_is_not_static() {
        let this = std::env::current_exe().unwrap();
        assert!(!is_static(&std::fs::read(this).unwrap()), "cargo links tests dynamically");
        assert!(!is_static(b"#!/bin/sh\n"));
        // A header and one segment that is to be loaded, or that names an interpreter.
        let elf = |kind: u8| {
            let mut elf = vec![0; 64 + 56];
            elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, kind);
            elf
        };
        assert!(is_static(&elf(1)));
        assert!(!is_static(&elf(3)));
    }
}
