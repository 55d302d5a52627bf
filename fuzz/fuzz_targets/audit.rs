//! Any bytes given as an audit log are judged; what is called whole has as many records as line breaks.
#![no_main]

use bottle_gate::audit::{Against, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|log: &[u8]| {
    if let Ok(summary) = verify(log, &Against::default()) {
        let lines = log.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(summary.records, lines as u64);
    }
});
