//! Any bytes are followed as HTTP/1 requests; where they are cut makes no difference.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_gate::fuzzing::framing(data));
