//! Any bytes are read as a TLS ClientHello; what is complete stays so with more bytes after it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_gate::fuzzing::hello(data));
