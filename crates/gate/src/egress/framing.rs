//! HTTP/1.1 request framing, read strictly: where each message ends, and that nobody could read it otherwise.
//!
//! hyper parses the requests; it is lenient where RFC 9112 lets it be (it drops a Content-Length beside a
//! Transfer-Encoding, takes bare LF, ignores chunk extensions). What two parsers could read in two ways is a smuggled
//! request for somebody further on, and a sign of an attack in any case, so it is refused here, before hyper sees it.
//!
//! Sans-I/O. Invariant: the verdict does not depend on how the bytes were cut; all that passes, hyper reads the same.

use super::trailers::is_forbidden;
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADERS, MAX_TRAILER_BYTES};
use bottle_spec::verdict::Reason;

/// Why bytes are not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Not a request, or one with two readings.
    Malformed,
    /// A head longer than the limit.
    TooLong,
    /// No `Host`, or more than one.
    Host,
}

impl Violation {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Violation::Malformed => Reason::RequestMalformed,
            Violation::TooLong => Reason::LimitExceeded,
            Violation::Host => Reason::HostMismatch,
        }
    }
}

/// Where in the stream of messages we are.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a head.
    #[default]
    Head,
    /// Within a head of which so many bytes were looked at.
    Opening(usize),
    /// So many bytes of body are left.
    Sized(u64),
    /// Before or within a chunk's size line.
    ChunkSize,
    /// So many bytes of the chunk are left, its closing CRLF included.
    ChunkData(u64),
    /// After the last chunk; so many bytes of trailers were read.
    Trailers(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Sized(u64),
    Chunked,
}

impl Framing {
    /// How many bytes at the front of `bytes` may pass; 0 = more are needed. Gives at most one head at a time.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        match self.state {
            State::Head => self.head(bytes, 0),
            State::Opening(seen) => self.head(bytes, seen),
            State::Sized(left) => Ok(self.data(bytes, left, State::Sized, State::Head)),
            State::ChunkData(left) => self.chunk_data(bytes, left),
            State::ChunkSize => self.chunk_size(bytes),
            State::Trailers(read) => self.trailers(bytes, read),
        }
    }

    /// Bytes of body that may pass unseen; the caller reports them with [`Framing::passed`].
    pub(crate) fn sized(&self) -> Option<u64> {
        match self.state {
            State::Sized(left) => Some(left),
            _ => None,
        }
    }

    pub(crate) fn passed(&mut self, amount: usize) {
        if let State::Sized(left) = self.state {
            let left = left.saturating_sub(amount as u64);
            self.state = if left == 0 { State::Head } else { State::Sized(left) };
        }
    }

    /// Whether a violation now would still be answered: no body is under way.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.state, State::Head | State::Opening(_))
    }

    fn head(&mut self, bytes: &[u8], seen: usize) -> Result<usize, Violation> {
        let from = seen.saturating_sub(3);
        let unseen = bytes.get(from..).unwrap_or_default();
        let Some(end) = unseen.windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4) else {
            // A line that ends otherwise would keep us waiting for an end that has been sent.
            check_line_ends(bytes, from)?;
            self.state = if bytes.is_empty() { State::Head } else { State::Opening(bytes.len()) };
            return if bytes.len() > MAX_HEAD_BYTES { Err(Violation::TooLong) } else { Ok(0) };
        };
        if end > MAX_HEAD_BYTES {
            return Err(Violation::TooLong);
        }
        let head = bytes.get(..end - 4).unwrap_or_default();
        self.state = match check_head(head)? {
            Body::None | Body::Sized(0) => State::Head,
            Body::Sized(length) => State::Sized(length),
            Body::Chunked => State::ChunkSize,
        };
        Ok(end)
    }

    fn data(&mut self, bytes: &[u8], left: u64, more: fn(u64) -> State, done: State) -> usize {
        let amount = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - amount as u64;
        self.state = if left == 0 { done } else { more(left) };
        amount
    }

    fn chunk_data(&mut self, bytes: &[u8], left: u64) -> Result<usize, Violation> {
        if left > 2 {
            let amount = usize::try_from(left - 2).unwrap_or(usize::MAX).min(bytes.len());
            self.state = State::ChunkData(left - amount as u64);
            return Ok(amount);
        }
        match bytes {
            [b'\r', b'\n', ..] => {
                self.state = State::ChunkSize;
                Ok(2)
            }
            [] | [b'\r'] => Ok(0),
            _ => Err(Violation::Malformed),
        }
    }

    /// `1*HEXDIG CRLF`: no extension, no space, no sign, at most 16 digits.
    fn chunk_size(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let digits = bytes.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let rest = bytes.get(digits..).unwrap_or_default();
        match rest {
            _ if digits > 16 => Err(Violation::Malformed),
            [] => Ok(0),
            [b'\r'] if digits > 0 => Ok(0),
            [b'\r', b'\n', ..] if digits > 0 => {
                let text = std::str::from_utf8(bytes.get(..digits).unwrap_or_default()).unwrap_or_default();
                let size = u64::from_str_radix(text, 16).map_err(|_| Violation::Malformed)?;
                self.state = match size.checked_add(2).ok_or(Violation::Malformed)? {
                    2 => State::Trailers(0),
                    left => State::ChunkData(left),
                };
                Ok(digits + 2)
            }
            _ => Err(Violation::Malformed),
        }
    }

    fn trailers(&mut self, bytes: &[u8], read: usize) -> Result<usize, Violation> {
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
            return if read + bytes.len() > MAX_TRAILER_BYTES { Err(Violation::TooLong) } else { Ok(0) };
        };
        let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Violation::Malformed)?;
        if read + end > MAX_TRAILER_BYTES {
            return Err(Violation::TooLong);
        }
        if line.is_empty() {
            self.state = State::Head;
        } else {
            let (name, _) = field(line)?;
            // A carrier of our own is known later; `screened_body` asks again.
            if std::str::from_utf8(name).ok().is_none_or(|name| is_forbidden(name, None)) {
                return Err(Violation::Malformed);
            }
            self.state = State::Trailers(read + end + 1);
        }
        Ok(end + 1)
    }
}

/// Every LF follows a CR, every CR (but the last byte) precedes an LF, and no line begins with white space.
fn check_line_ends(bytes: &[u8], from: usize) -> Result<(), Violation> {
    let mut previous = from.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b'\n');
    let mut first = from == 0;
    for byte in bytes.get(from..).unwrap_or_default() {
        let bad = match (previous, *byte) {
            (b'\r', b'\n') => false,
            (b'\r', _) | (_, b'\n' | 0) => true,
            // An empty line before the first request line is skipped by some parsers.
            (b'\n', b' ' | b'\t') => true,
            (b'\n', b'\r') => first,
            _ => false,
        };
        if bad {
            return Err(Violation::Malformed);
        }
        first = false;
        previous = *byte;
    }
    Ok(())
}

/// Checks a head without its final empty line, and says how the body is framed.
fn check_head(head: &[u8]) -> Result<Body, Violation> {
    check_line_ends(head, 0)?;
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let version = request_line(lines.next().unwrap_or_default())?;
    let (mut hosts, mut count) = (0, 0);
    let (mut length, mut chunked): (Option<u64>, bool) = (None, false);
    for line in lines {
        let (name, value) = field(line)?;
        count += 1;
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let value = decimal(value).ok_or(Violation::Malformed)?;
            if length.replace(value).is_some() {
                return Err(Violation::Malformed);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") || version == 0 {
                return Err(Violation::Malformed);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"connection") && takes_off(value) {
            return Err(Violation::Malformed);
        }
    }
    match (length, chunked) {
        _ if count > MAX_HEADERS => Err(Violation::TooLong),
        _ if hosts > 1 || (hosts == 0 && version == 1) => Err(Violation::Host),
        (Some(_), true) => Err(Violation::Malformed),
        (Some(length), false) => Ok(Body::Sized(length)),
        (None, true) => Ok(Body::Chunked),
        (None, false) => Ok(Body::None),
    }
}

/// Whether a `Connection` names what is meant for the server (RFC 9110, section 7.6.1): a proxy on the way would take it
/// off, and with it what the message is.
fn takes_off(options: &[u8]) -> bool {
    const FOR_ALL: [&str; 9] = [
        "host",
        "content-length",
        "transfer-encoding",
        "content-encoding",
        "content-type",
        "authorization",
        "cookie",
        "expect",
        "connection",
    ];
    let named = |option: &[u8]| FOR_ALL.iter().any(|name| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
    options.split(|byte| *byte == b',').any(named)
}

/// `method SP target SP HTTP/1.x`; gives x.
fn request_line(line: &[u8]) -> Result<u8, Violation> {
    let mut parts = line.split(|b| *b == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let visible = |text: &[u8]| !text.is_empty() && text.iter().all(|b| *b > b' ' && *b != 0x7f);
    let sound = method.is_some_and(is_token) && target.is_some_and(visible) && parts.next().is_none();
    // The method by which the guard hands a violation on; see `guard`.
    let reserved = method.is_some_and(|method| method == super::guard::REFUSED.as_bytes());
    match version {
        Some(b"HTTP/1.1") if sound && !reserved => Ok(1),
        Some(b"HTTP/1.0") if sound && !reserved => Ok(0),
        _ => Err(Violation::Malformed),
    }
}

/// `name ":" OWS value OWS`, the name right before the colon.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let colon = line.iter().position(|b| *b == b':').ok_or(Violation::Malformed)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    let controls = value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f);
    if !is_token(name) || controls { Err(Violation::Malformed) } else { Ok((name, value.trim_ascii())) }
}

fn is_token(text: &[u8]) -> bool {
    let tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(tchar)
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
