//! What comes back is read for orders to the agent.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_policy::fuzzing::inbound(data));
