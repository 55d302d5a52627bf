//! Frames between our own processes: a big-endian `u32` length, then that many bytes of JSON.
//!
//! File descriptors ride (`SCM_RIGHTS`) on the first byte of the frame that announces them; moving bytes and
//! descriptors is the caller's work. A frame longer than [`MAX_FRAME`] is an error, so a peer cannot make the other
//! side allocate without bound.

use serde::{Serialize, de::DeserializeOwned};

/// The longest frame accepted, in bytes. A plan with a thousand routes stays far below it.
pub const MAX_FRAME: usize = 4 << 20;
const HEADER: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("frame of {0} bytes is longer than the {MAX_FRAME} allowed")]
    TooLong(usize),
    #[error("frame is not the message expected")]
    Malformed(#[source] serde_json::Error),
}

/// The bytes of one frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message).map_err(WireError::Malformed)?;
    let body = frame.len().saturating_sub(HEADER);
    let length = u32::try_from(body).ok().filter(|_| body <= MAX_FRAME).ok_or(WireError::TooLong(body))?;
    frame.splice(..HEADER, length.to_be_bytes());
    Ok(frame)
}

/// Collects bytes as they arrive and gives back whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message, `None` until enough bytes have arrived. After an error the stream has no frame
    /// borders left to find: drop the connection.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let Some(header) = self.pending.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(WireError::TooLong(length));
        }
        let Some(body) = self.pending.get(HEADER..HEADER + length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(WireError::Malformed)?;
        self.pending.drain(..HEADER + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_every_cut() {
        let frame = encode(&("hello", 7)).unwrap();
        for cut in 0..=frame.len() {
            let mut decoder = Decoder::default();
            decoder.push(&frame[..cut]);
            let early: Option<(String, u8)> = decoder.message().unwrap();
            assert_eq!(early.is_some(), cut == frame.len());
            decoder.push(&frame[cut..]);
            let message = early.or_else(|| decoder.message().unwrap());
            assert_eq!(message, Some(("hello".to_owned(), 7)));
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_arrives() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert!(matches!(decoder.message::<()>(), Err(WireError::TooLong(_))));
    }
}
