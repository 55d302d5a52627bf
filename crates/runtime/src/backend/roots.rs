//! What the programs of a bottle trust besides its own authority: the certificate authorities of this host, whatever the
//! image. The gate ends nearly every connection; where it passes one through, the host's roots decide as they would for
//! the host's own programs.

use crate::provision::ImageTrust;
use bottle_spec::plan::Image;
use std::{fs, path::Path};

/// Where systems keep the bundle of certificate authorities they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whether an image of its own has a Java is not looked for: then there is a trust store that nobody reads.
pub fn image_trust(image: &Image) -> ImageTrust {
    let on_host = || ["/usr/bin/java", "/usr/lib/jvm"].iter().any(|path| Path::new(path).exists());
    ImageTrust {
        roots_pem: BUNDLES.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default(),
        java: *image != Image::Host || on_host(),
    }
}
