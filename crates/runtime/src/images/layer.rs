//! One layer over what is there (image-spec, `layer.md`): what it has is put there, what it whites out goes
//! ([`crate::untar`]). What a layer unpacks to is checked against its digest, and bounded.

use crate::untar::{Kind, Untar, malformed};
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, BufRead as _, Read},
    path::Path,
};

/// What all layers may unpack to.
const LARGEST: u64 = 64 << 30;

pub(super) struct Layers {
    onto: Untar,
    /// Left of the bound.
    bytes: u64,
}

impl Layers {
    pub(super) fn onto(root: &Path) -> io::Result<Layers> {
        Ok(Layers { onto: Untar::onto(root, Kind::Layer)?, bytes: LARGEST })
    }

    /// What they have unpacked to so far.
    pub(super) fn bytes(&self) -> u64 {
        LARGEST - self.bytes
    }

    /// `diff_id` is the digest of what the bytes decompress to.
    pub(super) fn add(&mut self, bytes: impl Read, diff_id: &str) -> io::Result<()> {
        let mut plain = Hashed { from: decompressed(bytes)?, hash: Sha256::new(), left: self.bytes };
        for entry in tar::Archive::new(&mut plain).entries()? {
            self.onto.entry(&mut entry?)?;
        }
        io::copy(&mut plain, &mut io::sink())?;
        self.bytes = plain.left;
        let found = super::named(&plain.hash.finalize());
        if found == diff_id { Ok(()) } else { Err(malformed(format!("it unpacks to {found}, and not to {diff_id}"))) }
    }
}

/// By its first bytes: what says how it is compressed is not always there, and not always right.
fn decompressed<'r>(bytes: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut bytes = io::BufReader::with_capacity(64 << 10, bytes);
    let head = bytes.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(bytes)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?));
    }
    Ok(Box::new(bytes))
}

/// Reads on, and knows of what.
struct Hashed<R> {
    from: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.hash.update(into.get(..count).unwrap_or_default());
        let left = self.left.checked_sub(u64::try_from(count).unwrap_or(u64::MAX));
        self.left = left.ok_or_else(|| malformed("the image unpacks to more than 64 GiB"))?;
        Ok(count)
    }
}
