//! Decompresses what has to be searched: a response to be scrubbed (such requests ask for `identity`; an upstream that
//! compresses all the same is decoded here rather than trusted), and the body of a request beside its bytes.
//!
//! Invariant: the output is bounded by [`MAX_RATIO`] times the input and its memory by the codings' windows, and of all
//! decoders together by `decoders`, so a bomb ends its own message and nothing else.

use super::{body::BodyError, decoders::Claim};
use async_compression::{
    tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame};
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

/// Input that a searched body takes before it says what it has taken.
const TAKEN: usize = 64 << 10;

/// How a body is encoded, where it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// By the `Content-Encoding` of a message; `None` where it is not known, or is more than one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Coding> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (None, _) => Some(Coding::Identity),
            (Some(coding), None) => Coding::named(coding),
            (Some(_), Some(_)) => None,
        }
    }

    pub(crate) fn named(coding: &HeaderValue) -> Option<Coding> {
        Some(match coding.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            // Signatures between pieces of the body; the pieces stand there plainly.
            "identity" | "aws-chunked" => Coding::Identity,
            "gzip" | "x-gzip" => Coding::Gzip,
            "deflate" => Coding::Deflate,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return None,
        })
    }
}

/// A compressed body, decoded as it comes.
pub(crate) struct Decoded<B> {
    decoder: Decoder<B>,
    claim: Claim,
    /// Whether the first byte has been seen.
    begun: bool,
    output: u64,
    ended: bool,
}

enum Decoder<B> {
    Gzip(GzipDecoder<Reader<B>>),
    Deflate(ZlibDecoder<Reader<B>>),
    Brotli(BrotliDecoder<Reader<B>>),
    Zstd(ZstdDecoder<Reader<B>>),
}

impl<B> Decoded<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    /// Gives a body that is not encoded back.
    pub(crate) fn new(coding: Coding, body: B, claim: Claim) -> Result<Decoded<B>, B> {
        Decoded::of(coding, body, None, claim)
    }

    /// One that keeps what it takes, for [`Decoded::taken`]. Gives a body that is not encoded back.
    pub(crate) fn searched(coding: Coding, body: B, claim: Claim) -> Result<Decoded<B>, B> {
        Decoded::of(coding, body, Some(BytesMut::new()), claim)
    }

    fn of(coding: Coding, body: B, taken: Option<BytesMut>, claim: Claim) -> Result<Decoded<B>, B> {
        let reader = |body| Reader { body, chunk: Bytes::new(), input: 0, trailers: None, taken };
        let decoder = match coding {
            Coding::Identity => return Err(body),
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(reader(body));
                decoder.multiple_members(true);
                Decoder::Gzip(decoder)
            }
            Coding::Deflate => Decoder::Deflate(ZlibDecoder::new(reader(body))),
            Coding::Brotli => Decoder::Brotli(BrotliDecoder::new(reader(body))),
            Coding::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                Decoder::Zstd(ZstdDecoder::with_params(reader(body), &[window]))
            }
        };
        Ok(Decoded { decoder, claim, begun: false, output: 0, ended: false })
    }

    /// The input since this was last asked. All that it says has been told when [`Decoded::poll`] is pending or has
    /// ended.
    pub(crate) fn taken(&mut self) -> Bytes {
        self.reader().taken.as_mut().map(|taken| taken.split().freeze()).unwrap_or_default()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(self.reader().trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if !self.begun && matches!(self.decoder, Decoder::Brotli(_)) {
            let first = ready!(Pin::new(self.reader()).poll_fill_buf(cx)).ok().and_then(|bytes| bytes.first().copied());
            self.begun = true;
            first.into_iter().for_each(|first| self.claim.settle(first));
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
            // What follows the end of what is encoded would go by unread.
            match ready!(Pin::new(self.reader()).poll_fill_buf(cx)) {
                Ok([]) => self.ended = true,
                Ok(_) => {
                    let more = io::Error::new(io::ErrorKind::InvalidData, "the body goes on after its end");
                    return Poll::Ready(Some(Err(BodyError::Decode(more))));
                }
                Err(error) => return Poll::Ready(Some(Err(BodyError::Decode(error)))),
            }
            return self.poll(cx);
        }
        chunk.truncate(filled);
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }

    fn reader(&mut self) -> &mut Reader<B> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl<B> std::fmt::Debug for Decoded<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").field("output", &self.output).finish_non_exhaustive()
    }
}

/// A body as a byte stream.
struct Reader<B> {
    body: B,
    chunk: Bytes,
    input: u64,
    trailers: Option<HeaderMap>,
    taken: Option<BytesMut>,
}

impl<B> AsyncBufRead for Reader<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            if this.taken.as_ref().is_some_and(|taken| taken.len() >= TAKEN) {
                // Whoever searches takes it, and polls again.
                return Poll::Pending;
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => break,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.input += data.len() as u64;
                        if let Some(taken) = &mut this.taken {
                            taken.extend_from_slice(&data);
                        }
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

impl<B> AsyncRead for Reader<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = chunk.len().min(out.remaining());
        out.put_slice(chunk.get(..amount).unwrap_or_default());
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}
