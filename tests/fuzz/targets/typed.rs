//! See `keepwatch::fuzzed::typed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::typed(data));
