//! An OCI image layout (image-spec, `image-layout.md`) as a tar file, written as it comes.

use serde_json::json;
use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;

/// Large enough that a layer is written in few calls.
const BUFFER: usize = 256 << 10;

pub(super) struct Archive {
    tar: tar::Builder<io::BufWriter<File>>,
}

/// What the archive's index says of the one manifest in it.
pub(super) struct Indexed<'a> {
    pub(super) media_type: &'a str,
    pub(super) digest: &'a str,
    pub(super) size: usize,
    /// The image's name, as it was asked for.
    pub(super) name: &'a str,
}

impl Archive {
    pub(super) fn create(path: &Path) -> io::Result<Archive> {
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(BUFFER, File::create(path)?));
        let layout = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
        append(&mut tar, "oci-layout", layout.as_bytes())?;
        Ok(Archive { tar })
    }

    /// A blob that is here whole, and was verified.
    pub(super) fn blob(&mut self, hex: &str, bytes: &[u8]) -> io::Result<()> {
        append(&mut self.tar, &format!("blobs/sha256/{hex}"), bytes)
    }

    /// Begins a blob of so many bytes, which are written to what this gives.
    /// `told` hears of each that has come.
    pub(super) fn begin<'a>(
        &'a mut self,
        hex: &str,
        size: u64,
        told: &'a mut dyn FnMut(u64),
    ) -> io::Result<Incoming<'a>> {
        let mut header = header(size);
        header.set_path(format!("blobs/sha256/{hex}"))?;
        header.set_cksum();
        self.tar.get_mut().write_all(header.as_bytes())?;
        Ok(Incoming { file: self.tar.get_mut(), left: size, size, told })
    }

    /// Writes the index, and everything to the disk.
    pub(super) fn finish(mut self, indexed: &Indexed<'_>) -> io::Result<()> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": indexed.media_type,
                "digest": indexed.digest,
                "size": indexed.size,
                "annotations": { "org.opencontainers.image.ref.name": indexed.name },
            }],
        });
        append(&mut self.tar, "index.json", index.to_string().as_bytes())?;
        let file = self.tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

fn append(tar: &mut tar::Builder<io::BufWriter<File>>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    tar.append_data(&mut header, name, bytes)
}

/// Takes the bytes of one blob, no more of them than were announced.
pub(super) struct Incoming<'a> {
    file: &'a mut io::BufWriter<File>,
    left: u64,
    size: u64,
    told: &'a mut dyn FnMut(u64),
}

impl Incoming<'_> {
    /// All of it has come.
    pub(super) fn end(self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("the registry sent less than it had announced"));
        }
        let padding = usize::try_from(self.size.next_multiple_of(512) - self.size).unwrap_or_default();
        self.file.write_all([0; 512].get(..padding).unwrap_or_default())
    }
}

/// Writes to a file, which is never waited for.
impl AsyncWrite for Incoming<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(length) else {
            return Poll::Ready(Err(io::Error::other("the registry sent more than it had announced")));
        };
        self.left = left;
        let written = self.file.write_all(bytes).map(|()| bytes.len());
        (self.told)(length);
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
