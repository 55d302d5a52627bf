//! A body is scanned; the cuts make no difference and a planted value is found.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_policy::fuzzing::body(data));
