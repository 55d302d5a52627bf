//! Any bytes are what an agent sends by a WebSocket; where they are cut makes no difference, and what is known stays.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_gate::fuzzing::relay(data));
