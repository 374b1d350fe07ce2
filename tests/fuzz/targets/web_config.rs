//! See `keepwatch::fuzzed::web_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::web_config(data));
