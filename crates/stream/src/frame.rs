//! The bytes of a stream: a kind, the channel's number (big-endian `u32`), how many bytes follow (big-endian `u16`), and
//! those.
//!
//! Sans-I/O: [`Frames`] is given bytes as they come and gives back frames.

/// The most that one frame carries.
pub const PAYLOAD: usize = 32 << 10;
/// What of one direction of a channel may be on its way, in bytes.
pub const WINDOW: usize = 128 << 10;
/// Channels at a time.
pub const CHANNELS: usize = 1024;
/// The longest name of a socket.
pub const NAME: usize = 32;

const HEADER: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new channel, to the socket that the payload names. Numbers only grow.
    Open,
    Data,
    /// No more data comes; the other direction goes on.
    End,
    /// So many bytes more may come: a big-endian `u32`.
    Credit,
    /// The channel is gone, in both directions.
    Reset,
    /// The first on a stream, before there are channels: whatever the two have to say to each other.
    Hello,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::Open, Kind::Data, Kind::End, Kind::Credit, Kind::Reset, Kind::Hello];

    fn of(byte: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(byte)).copied()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub channel: u32,
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of an unknown kind, {0}")]
    Kind(u8),
    #[error("a frame of {0} bytes, of which {PAYLOAD} are allowed")]
    Long(usize),
}

impl Frame<'_> {
    /// Appends its bytes. What is longer than a frame may be is cut: callers take care.
    pub fn write(self, to: &mut Vec<u8>) {
        let payload = self.payload.get(..PAYLOAD).unwrap_or(self.payload);
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        to.push(self.kind as u8);
        to.extend_from_slice(&self.channel.to_be_bytes());
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(payload);
    }
}

/// Takes bytes as they come.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// What of them was given back.
    taken: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until there is one. After an error there are no frames to be found any more.
    pub fn frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((&[kind, a, b, c, d, high, low], rest)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let kind = Kind::of(kind).ok_or(FrameError::Kind(kind))?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > PAYLOAD {
            return Err(FrameError::Long(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        self.taken += HEADER + length;
        Ok(Some(Frame { kind, channel: u32::from_be_bytes([a, b, c, d]), payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_frame_is_told_before_its_payload_comes() {
        let mut frames = Frames::default();
        frames.push(&[6, 0, 0, 0, 1, 0, 0]);
        assert_eq!(frames.frame(), Err(FrameError::Kind(6)));
        let mut frames = Frames::default();
        frames.push(&[1, 0, 0, 0, 1, 0x80, 1]);
        assert_eq!(frames.frame(), Err(FrameError::Long(0x8001)));
    }

    proptest! {
        #[test]
        fn frames_survive_every_cut(
            sent in prop::collection::vec((0..6_u8, any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)), 0..12),
            cut in 1..64_usize,
        ) {
            let mut bytes = Vec::new();
            for (kind, channel, payload) in &sent {
                Frame { kind: Kind::of(*kind).unwrap(), channel: *channel, payload }.write(&mut bytes);
            }
            let (mut frames, mut come) = (Frames::default(), Vec::new());
            for part in bytes.chunks(cut) {
                frames.push(part);
                while let Some(frame) = frames.frame().unwrap() {
                    come.push((frame.kind as u8, frame.channel, frame.payload.to_vec()));
                }
            }
            prop_assert_eq!(come, sent);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(_)) = frames.frame() {}
        }
    }
}
