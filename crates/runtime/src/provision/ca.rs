//! The bottle's authority, wherever programs look for what they trust: alone, and together with the image's roots.

use super::{Given, Piece};
use crate::trust;
use bottle_spec::resolve::{CA_BUNDLE, CA_FILE, TRUST_STORE};

/// The names that Fedora, Alpine and OpenSSL itself have for the bundle.
const OTHER_NAMES: [&str; 3] = ["/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/tls/cert.pem"];
const JAVA_STORE: &str = "/etc/ssl/certs/java/cacerts";

pub(super) fn pieces(given: &Given<'_>) -> Vec<Piece> {
    let bundle = trust::bundle(&given.image.roots_pem, given.trust_anchor_pem);
    let mut pieces: Vec<Piece> = OTHER_NAMES.iter().map(|name| Piece::link(*name, CA_BUNDLE)).collect();
    if given.image.java {
        pieces.push(Piece::file(TRUST_STORE, trust::truststore(&bundle)));
        pieces.push(Piece::link(JAVA_STORE, TRUST_STORE));
    }
    pieces.push(Piece::file(CA_BUNDLE, bundle));
    pieces.push(Piece::file(CA_FILE, given.trust_anchor_pem));
    pieces
}
