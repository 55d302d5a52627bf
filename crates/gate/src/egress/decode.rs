//! Decompresses a response that has to be scrubbed. Such requests ask for `identity`; an upstream that compresses all
//! the same is decoded here rather than trusted.
//!
//! Invariant: the output is bounded by [`MAX_RATIO`] times the input and its memory by
//! the codings' windows, so a bomb ends its own response and nothing else.

use super::body::BodyError;
use async_compression::{
    tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// Text compresses to a hundredth at best; more is made to hurt.
const MAX_RATIO: u64 = 200;
/// Output that is allowed whatever the input.
const FREE: u64 = 1 << 20;
/// What a zstd decoder may be asked to remember: 8 MiB (RFC 9659, section 3), where the library would take 128.
const ZSTD_WINDOW_LOG: u32 = 23;
const CHUNK: usize = 16 << 10;

/// A compressed body, decoded as it comes.
pub(crate) struct Decoded {
    decoder: Decoder,
    output: u64,
    ended: bool,
}

enum Decoder {
    Gzip(GzipDecoder<Reader>),
    Deflate(ZlibDecoder<Reader>),
    Brotli(BrotliDecoder<Reader>),
    Zstd(ZstdDecoder<Reader>),
}

impl Decoded {
    /// `None` where the coding is not known, or is more than one.
    pub(crate) fn new(coding: &HeaderValue, body: Incoming) -> Option<Decoded> {
        let reader = Reader { body, chunk: Bytes::new(), input: 0, trailers: None };
        let decoder = match coding.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => {
                let mut decoder = GzipDecoder::new(reader);
                decoder.multiple_members(true);
                Decoder::Gzip(decoder)
            }
            "deflate" => Decoder::Deflate(ZlibDecoder::new(reader)),
            "br" => Decoder::Brotli(BrotliDecoder::new(reader)),
            "zstd" => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                Decoder::Zstd(ZstdDecoder::with_params(reader, &[window]))
            }
            _ => return None,
        };
        Some(Decoded { decoder, output: 0, ended: false })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(self.reader().trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let mut chunk = BytesMut::zeroed(CHUNK);
        let mut buffer = ReadBuf::new(&mut chunk);
        let outcome = match &mut self.decoder {
            Decoder::Gzip(decoder) => Pin::new(decoder).poll_read(cx, &mut buffer),
            Decoder::Deflate(decoder) => Pin::new(decoder).poll_read(cx, &mut buffer),
            Decoder::Brotli(decoder) => Pin::new(decoder).poll_read(cx, &mut buffer),
            Decoder::Zstd(decoder) => Pin::new(decoder).poll_read(cx, &mut buffer),
        };
        let filled = buffer.filled().len();
        if let Err(error) = ready!(outcome) {
            return Poll::Ready(Some(Err(BodyError::Decode(error))));
        }
        self.output += filled as u64;
        if self.output > FREE + self.reader().input.saturating_mul(MAX_RATIO) {
            let bomb = io::Error::new(io::ErrorKind::InvalidData, "the body grows too much when decompressed");
            return Poll::Ready(Some(Err(BodyError::Decode(bomb))));
        }
        if filled == 0 {
            self.ended = true;
            return self.poll(cx);
        }
        chunk.truncate(filled);
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }

    fn reader(&mut self) -> &mut Reader {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").field("output", &self.output).finish_non_exhaustive()
    }
}

/// A body as a byte stream.
struct Reader {
    body: Incoming,
    chunk: Bytes,
    input: u64,
    trailers: Option<HeaderMap>,
}

impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => break,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.input += data.len() as u64;
                        this.chunk = data;
                    }
                    Err(frame) => this.trailers = frame.into_trailers().ok(),
                },
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        let _ = this.chunk.split_to(amount.min(this.chunk.len()));
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = chunk.len().min(out.remaining());
        out.put_slice(chunk.get(..amount).unwrap_or_default());
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}
