//! See `keepwatch::fuzzed::btf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::btf(data));
