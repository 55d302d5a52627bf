//! Any bytes at the resolver door are answered or dropped; an answer is one, to this question, and fits a datagram.
#![no_main]

use bottle_gate::{resolver::answer, synthetic::Names};
use bottle_spec::policy::EgressPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let names = Names::new(&EgressPolicy::default());
    if let Some(reply) = answer(message, &names) {
        assert_eq!(reply.get(..2), message.get(..2));
        assert!(reply.len() <= 512 && reply[2] & 0x80 != 0);
    }
});
