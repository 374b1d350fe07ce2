//! See `keepwatch::fuzzed::cgroup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepwatch::fuzzed::cgroup(data));
