//! WebSocket messages are scanned; nothing of one is held back at its end.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_policy::fuzzing::messages(data));
