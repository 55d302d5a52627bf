//! The cryptography of both sides' TLS: ring, with the cheaper of two equally good suites first.
//!
//! TLS_AES_128_GCM_SHA256 goes before TLS_AES_256_GCM_SHA384: a handshake hashes some hundred short messages, and
//! SHA-256 has instructions of its own on the machines that this runs on, which SHA-384 has not (measured: a seventh of
//! a tunnel's CPU time). Everything rustls takes is taken, in this order.

use rustls::{
    CipherSuite,
    crypto::{CryptoProvider, ring},
};
use std::sync::Arc;

/// The provider for servers and clients alike.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    Arc::new(provider)
}
