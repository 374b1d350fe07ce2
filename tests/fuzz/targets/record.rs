//! See `keepwatch::fuzzed::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::record(data));
