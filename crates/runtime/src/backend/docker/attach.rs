//! Attaching to a container: a request that turns into a stream, which the library's own client cannot hand over to
//! another process.
//!
//! What the container writes comes in frames of the engine's: which of its two outputs it is, three bytes of nothing, a
//! big-endian `u32` length, and so many bytes. What it reads goes as it is.
//!
//! Source: Docker Engine API, `POST /containers/{id}/attach`.

use super::{
    dial::dial,
    engine::{Engine, PATIENCE},
    error::EngineError,
};
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

/// The answer's head.
const HEAD_MOST: usize = 16 << 10;
const STDOUT: u8 = 1;

/// Attaches to a container that does not run yet.
pub(super) async fn attach(engine: &Engine, name: &str) -> Result<UnixStream, EngineError> {
    let Engine { address, version, .. } = engine;
    let request = format!(
        "POST /v{version}/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n\
         Host: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    );
    let attaching = async {
        let gone = |error| EngineError::Gone(address.clone(), error);
        let mut stream = dial(address).await.map_err(gone)?;
        stream.write_all(request.as_bytes()).await.map_err(EngineError::Ask)?;
        let head = head(&mut stream).await.map_err(EngineError::Ask)?;
        let status = head.lines().next().unwrap_or_default();
        // Before there was the header that asks for it, the stream followed a plain answer.
        match status.split(' ').nth(1) {
            Some("101" | "200") => Ok(stream),
            _ => Err(EngineError::Refused(format!("attaching to the container: {status}"))),
        }
    };
    timeout(PATIENCE, attaching).await.map_err(|_| EngineError::Late(PATIENCE))?
}

/// Byte by byte: what follows is the container's.
async fn head(stream: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Takes the engine's frames apart as they come.
#[derive(Debug, Default)]
pub(super) struct Output {
    header: Vec<u8>,
    /// Of the frame that is on its way.
    left: usize,
    is_stdout: bool,
}

impl Output {
    const HEADER: usize = 8;

    /// Gives on what is of standard output; the other is the engine's and init's to complain on.
    pub(super) fn unwrap(&mut self, mut bytes: &[u8], mut give: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (header, rest) = bytes.split_at(bytes.len().min(Output::HEADER - self.header.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                if let [stream, _, _, _, a, b, c, d] = *self.header {
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.is_stdout = stream == STDOUT;
                    self.header.clear();
                }
                continue;
            }
            let (of_frame, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= of_frame.len();
            if self.is_stdout {
                give(of_frame);
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_output_is_told_from_the_other_at_every_cut() {
        let frame = |stream: u8, bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            [&[stream, 0, 0, 0][..], &length, bytes].concat()
        };
        let all = [frame(1, b"one "), frame(2, b"complaint"), frame(1, b""), frame(1, b"two")].concat();
        for cut in 1..=all.len() {
            let (mut output, mut given) = (Output::default(), Vec::new());
            for part in all.chunks(cut) {
                output.unwrap(part, |bytes| given.extend_from_slice(bytes));
            }
            assert_eq!(given, b"one two", "cut at {cut}");
        }
    }
}
