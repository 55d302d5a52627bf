//! Any bytes are a container's stream, as its carrier on the host takes it apart, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_stream::fuzzing::stream(data));
