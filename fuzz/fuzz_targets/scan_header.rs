//! Headers and a host are scanned.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_policy::fuzzing::header(data));
