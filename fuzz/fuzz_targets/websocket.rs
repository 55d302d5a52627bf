//! Any bytes are the beginning of a WebSocket's frame, or of none; what is made of one reads the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_gate::fuzzing::websocket(data));
