//! The messages of a WebSocket on their way to the upstream, searched (RFC 6455).
//!
//! Sans-I/O. Frames are taken apart and made anew, as what is held back or replaced changes their lengths; a message
//! keeps its type and its end, and what is held back of it goes on with its last frame.
//!
//! Invariant: no byte of a message goes on unsearched, in data and control frames alike; what is not a frame of this
//! protocol, or carries bits that an extension would have to explain, ends the connection.

use super::judge::Judge;
pub(crate) use super::judge::Replaceable;
use bottle_policy::scan::{Finding, Place, Scanner, Shape, Stream};
use bottle_spec::verdict::Reason;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::Arc;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const CLOSE: u8 = 8;
/// Control frames carry no more (section 5.5).
const MAX_CONTROL: u64 = 125;

/// Says what becomes of a finding.
pub(crate) trait Verdict {
    /// Empties the list; an error ends the connection.
    fn verdict(&self, found: &mut Vec<Finding>, replaceable: Replaceable) -> Result<(), Reason>;
    /// Where findings are replaced: the rules for which they are not.
    fn spared(&self) -> Option<&[String]>;
}

impl Verdict for Arc<Judge> {
    fn verdict(&self, found: &mut Vec<Finding>, replaceable: Replaceable) -> Result<(), Reason> {
        self.judge(found, replaceable)
    }

    fn spared(&self) -> Option<&[String]> {
        self.redacts().then(|| self.exempt())
    }
}

/// One direction of one WebSocket.
#[derive(Debug)]
pub(crate) struct Relay<V = Arc<Judge>> {
    scanner: Arc<Scanner>,
    judge: V,
    stream: Stream,
    found: Vec<Finding>,
    /// Not taken apart yet.
    input: BytesMut,
    frame: Option<Frame>,
    /// The type of the message under way, for its next frame on this side: [`CONTINUATION`] once one has gone on.
    message: Option<u8>,
}

/// A data frame of which the head has been read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    last: bool,
    left: u64,
    mask: [u8; 4],
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) last: bool,
    pub(crate) opcode: u8,
    pub(crate) length: u64,
    pub(crate) mask: [u8; 4],
    pub(crate) bytes: usize,
}

impl<V: Verdict> Relay<V> {
    pub(crate) fn new(scanner: &Arc<Scanner>, judge: V) -> Relay<V> {
        let mut stream = scanner.stream(Shape::WebSocketMessages);
        if let Some(spared) = judge.spared() {
            stream = stream.redacting(spared);
        }
        Relay {
            scanner: Arc::clone(scanner),
            judge,
            stream,
            found: Vec::new(),
            input: BytesMut::new(),
            frame: None,
            message: None,
        }
    }

    /// Takes bytes from the agent and gives those that may go on.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<Bytes, Reason> {
        self.input.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        loop {
            match self.frame {
                Some(frame) => {
                    if self.input.is_empty() && frame.left > 0 {
                        break;
                    }
                    self.data(frame, &mut out)?;
                }
                None => match head(&self.input)? {
                    Some(head) if head.opcode < CLOSE => self.begin(&head)?,
                    Some(head) => {
                        if !self.control(&head, &mut out)? {
                            break;
                        }
                    }
                    None => break,
                },
            }
        }
        Ok(out.freeze())
    }

    fn begin(&mut self, head: &Head) -> Result<(), Reason> {
        match (head.opcode, self.message) {
            (CONTINUATION, Some(_)) => {}
            (opcode, None) if opcode != CONTINUATION => self.message = Some(opcode),
            _ => return Err(Reason::RequestMalformed),
        }
        self.input.advance(head.bytes);
        self.frame = Some(Frame { last: head.last, left: head.length, mask: head.mask });
        Ok(())
    }

    fn data(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), Reason> {
        let amount = usize::try_from(frame.left).unwrap_or(usize::MAX).min(self.input.len());
        let mut piece = self.input.split_to(amount);
        unmask(&mut piece, frame.mask);
        let left = frame.left - amount as u64;
        let ended = left == 0 && frame.last;
        let mut clean = self.stream.push(piece.freeze(), &mut self.found);
        if ended {
            let rest = self.stream.flush(&mut self.found);
            clean = if clean.is_empty() { rest } else { [clean, rest].concat().into() };
        }
        self.judge.verdict(&mut self.found, Replaceable::InPlace)?;
        if ended || !clean.is_empty() {
            let opcode = self.message.replace(CONTINUATION).unwrap_or(CONTINUATION);
            write(out, ended, opcode, frame.mask, &clean);
        }
        if ended {
            self.message = None;
        }
        // The rest of the mask begins where this piece has ended.
        let mut mask = frame.mask;
        mask.rotate_left(amount % 4);
        self.frame = (left > 0).then_some(Frame { left, mask, ..frame });
        Ok(())
    }

    /// `false` = it is not all there yet.
    fn control(&mut self, head: &Head, out: &mut BytesMut) -> Result<bool, Reason> {
        let length = usize::try_from(head.length).map_err(|_| Reason::RequestMalformed)?;
        if self.input.len() < head.bytes + length {
            return Ok(false);
        }
        self.input.advance(head.bytes);
        let mut payload = self.input.split_to(length);
        unmask(&mut payload, head.mask);
        self.found.extend(self.scanner.piece(Place::Message, &payload));
        self.judge.verdict(&mut self.found, Replaceable::Not)?;
        write(out, true, head.opcode, head.mask, &payload);
        Ok(true)
    }
}

/// The head at the front of `bytes`, once it is all there. An agent's frames are masked.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<Head>, Reason> {
    let Some((mut head, rest)) = unkeyed(bytes, true)? else { return Ok(None) };
    let Some(mask) = rest.first_chunk::<4>() else { return Ok(None) };
    head.mask = *mask;
    head.bytes += mask.len();
    Ok(Some(head))
}

/// The same of an upstream's frames, which are not.
pub(crate) fn bare_head(bytes: &[u8]) -> Result<Option<Head>, Reason> {
    Ok(unkeyed(bytes, false)?.map(|(head, _)| head))
}

/// The head without its mask, and what follows it.
fn unkeyed(bytes: &[u8], masked: bool) -> Result<Option<(Head, &[u8])>, Reason> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (last, opcode, short) = (first & FIN != 0, first & 0x0f, second & 0x7f);
    // Reserved bits belong to extensions, and there are none.
    let sound = first & 0x70 == 0 && matches!(opcode, 0..=2 | 8..=10) && (second & MASKED != 0) == masked;
    if !sound || (opcode >= CLOSE && !last) {
        return Err(Reason::RequestMalformed);
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((long, rest)) = rest.split_at_checked(extended) else { return Ok(None) };
    let length = match extended {
        0 => u64::from(short),
        _ => long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    // The shortest form, and no sign bit (section 5.2).
    let shortest = match extended {
        0 => true,
        2 => length > 125,
        _ => length > 0xffff && length >> 63 == 0,
    };
    if !shortest || (opcode >= CLOSE && length > MAX_CONTROL) {
        return Err(Reason::RequestMalformed);
    }
    Ok(Some((Head { last, opcode, length, mask: [0; 4], bytes: 2 + extended }, rest)))
}

/// Masks, too.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

pub(crate) fn write(out: &mut BytesMut, last: bool, opcode: u8, mask: [u8; 4], payload: &[u8]) {
    out.put_u8(if last { FIN | opcode } else { opcode });
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.put_u8(MASKED | length),
        (_, Ok(length)) => {
            out.put_u8(MASKED | 126);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(MASKED | 127);
            out.put_u64(payload.len() as u64);
        }
    }
    out.put_slice(&mask);
    let start = out.len();
    out.put_slice(payload);
    if let Some(payload) = out.get_mut(start..) {
        unmask(payload, mask);
    }
}

/// The last frame that an agent reads: status 1008, policy violation.
pub(crate) fn farewell(reason: Reason) -> Bytes {
    let code = reason.code().as_bytes();
    let mut frame = BytesMut::new();
    frame.put_u8(FIN | CLOSE);
    // A code is a short word.
    frame.put_u8(u8::try_from(2 + code.len()).unwrap_or(2));
    frame.put_u16(1008);
    frame.put_slice(code);
    frame.freeze()
}
