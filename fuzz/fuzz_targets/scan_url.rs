//! A request's target is scanned and judged by the path rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_policy::fuzzing::url(data));
