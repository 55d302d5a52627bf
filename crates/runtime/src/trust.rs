//! What a bottle's programs trust: the host's certificate authorities and the bottle's own, as a PEM bundle and as a
//! Java truststore.
//!
//! The truststore is PKCS#12 (RFC 7292) without encryption and without a MAC: it holds nothing secret, lies on a
//! read-only file system, and Java takes it with or without a password. So no cipher is needed to write it.

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Both in one file, the bottle's own first: what reads only one certificate reads that.
pub(crate) fn bundle(roots_pem: &str, anchor_pem: &str) -> String {
    let mut bundle = String::with_capacity(roots_pem.len() + anchor_pem.len() + 1);
    for part in [anchor_pem, roots_pem] {
        bundle.push_str(part);
        if !part.is_empty() && !part.ends_with('\n') {
            bundle.push('\n');
        }
    }
    bundle
}

/// The certificates of a PEM bundle as a PKCS#12 truststore. What is not a certificate in it is left out.
pub(crate) fn truststore(bundle_pem: &str) -> Vec<u8> {
    let bags: Vec<Vec<u8>> = certificates(bundle_pem).enumerate().map(|(index, der)| bag(index, &der)).collect();
    let safe = content_info(&sequence(&bags));
    let version = tagged(INTEGER, &[3]);
    sequence(&[version, content_info(&sequence(&[safe]))])
}

/// The DER of each certificate in a PEM text, in order.
fn certificates(pem: &str) -> impl Iterator<Item = Vec<u8>> {
    pem.split(BEGIN).skip(1).filter_map(|rest| {
        let (body, _) = rest.split_once(END)?;
        let text: String = body.split_ascii_whitespace().collect();
        STANDARD.decode(text).ok()
    })
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`.
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.12.10.1.3
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// 1.2.840.113549.1.9.22.1
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1: Oracle's mark for "trusted"; without it Java takes a certificate for a mere link of
/// some chain.
const TRUSTED_KEY_USAGE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// 2.5.29.37.0
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// A SafeBag with one certificate, under an alias of its own.
fn bag(index: usize, certificate: &[u8]) -> Vec<u8> {
    let alias: Vec<u8> = format!("ca-{index}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let held = sequence(&[oid(X509_CERTIFICATE), tagged(CONTEXT_0, &tagged(OCTET_STRING, certificate))]);
    let name = sequence(&[oid(FRIENDLY_NAME), tagged(SET, &tagged(BMP_STRING, &alias))]);
    let trusted = sequence(&[oid(TRUSTED_KEY_USAGE), tagged(SET, &oid(ANY_USAGE))]);
    sequence(&[oid(CERT_BAG), tagged(CONTEXT_0, &held), tagged(SET, &[name, trusted].concat())])
}

fn content_info(content: &[u8]) -> Vec<u8> {
    sequence(&[oid(DATA), tagged(CONTEXT_0, &tagged(OCTET_STRING, content))])
}

fn oid(encoded: &[u8]) -> Vec<u8> {
    tagged(OBJECT_IDENTIFIER, encoded)
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

/// Tag, length and contents, in DER (X.690, 8.1.3).
fn tagged(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len());
    let length = length.get(significant..).unwrap_or_default();
    let mut encoded = Vec::with_capacity(contents.len() + 10);
    encoded.push(tag);
    match length {
        [] => encoded.push(0),
        [short @ 0..=127] => encoded.push(*short),
        long => {
            encoded.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            encoded.extend(long);
        }
    }
    encoded.extend(contents);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (length, header) in
            [(0, vec![4, 0]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (256, vec![4, 0x82, 1, 0])]
        {
            let encoded = tagged(OCTET_STRING, &vec![7; length]);
            assert_eq!(encoded[..header.len()], header);
            assert_eq!(encoded.len(), header.len() + length);
        }
    }

    #[test]
    fn a_bundle_keeps_every_certificate_and_nothing_else() {
        let roots = format!("# a comment\n{BEGIN}\nAQID\n{END}\njunk\n{BEGIN}\nBAUG\n{END}");
        let anchor = format!("{BEGIN}\nBwgJ\n{END}");
        let bundle = bundle(&roots, &anchor);
        let found: Vec<_> = certificates(&bundle).collect();
        assert_eq!(found, [vec![7, 8, 9], vec![1, 2, 3], vec![4, 5, 6]]);
        assert_eq!(certificates(&format!("{BEGIN}\n!!!\n{END}")).count(), 0);
        assert_eq!(certificates(BEGIN).count(), 0);
    }
}
