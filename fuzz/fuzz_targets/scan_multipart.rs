//! A multipart body is scanned.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_policy::fuzzing::multipart(data));
