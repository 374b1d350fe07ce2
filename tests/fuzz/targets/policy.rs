//! See `keepwatch::fuzzed::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::policy(data));
