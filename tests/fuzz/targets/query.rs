//! See `keepwatch::fuzzed::query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::query(data));
