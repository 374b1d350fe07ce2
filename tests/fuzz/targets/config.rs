//! See `keepwatch::fuzzed::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::config(data));
