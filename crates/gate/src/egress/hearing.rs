//! The messages of a WebSocket on their way to the agent, read for text that gives it orders.
//!
//! Sans-I/O. Nothing is held back or changed: a message is heard before its last bytes go on, and one that is not to
//! go on never ends. Messages of text are read, with what is in their fragments.
//!
//! Invariant: at most a frame's head is held beside what the listener holds.

use super::{
    frames::{self, CLOSE, CONTINUATION},
    inbound::Listener,
};
use bottle_spec::verdict::Reason;
use bytes::Bytes;

const TEXT: u8 = 1;

#[derive(Debug)]
pub(crate) struct Hearing {
    listener: Listener,
    /// Of a frame's head that is not all there yet.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// Whether the message under way is text.
    text: bool,
    /// What came was no frame; nothing more is read of it.
    deaf: bool,
}

/// A frame of which the head has been read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    left: u64,
    read: bool,
    /// The message ends with it.
    last: bool,
}

impl Hearing {
    pub(crate) fn new(listener: Listener) -> Hearing {
        Hearing { listener, head: Vec::new(), frame: None, text: false, deaf: false }
    }

    /// Takes bytes from the upstream that are to go on.
    ///
    /// # Errors
    /// They are not to.
    pub(crate) fn hear(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        while !self.deaf {
            match self.frame {
                Some(frame) => {
                    let amount = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                    let (now, later) = bytes.split_at_checked(amount).unwrap_or((bytes, &[]));
                    bytes = later;
                    self.payload(frame, now)?;
                    if self.frame.is_some() && bytes.is_empty() {
                        return Ok(());
                    }
                }
                None => {
                    let Some((byte, later)) = bytes.split_first() else { return Ok(()) };
                    self.head.push(*byte);
                    bytes = later;
                    match frames::bare_head(&self.head) {
                        Ok(None) => {}
                        Ok(Some(head)) => {
                            self.head.clear();
                            self.begin(&head);
                        }
                        Err(_) if self.listener.only_warns() => self.deaf = true,
                        Err(_) => return Err(Reason::UpstreamProtocol),
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: &frames::Head) {
        let data = head.opcode < CLOSE;
        if data && head.opcode != CONTINUATION {
            self.text = head.opcode == TEXT;
        }
        self.frame = Some(Frame { left: head.length, read: data && self.text, last: head.last });
    }

    fn payload(&mut self, frame: Frame, bytes: &[u8]) -> Result<(), Reason> {
        let left = frame.left - bytes.len() as u64;
        if frame.read {
            self.listener.push(Bytes::copy_from_slice(bytes))?;
            if left == 0 && frame.last {
                self.listener.finish()?;
            }
        }
        self.frame = (left > 0).then_some(Frame { left, ..frame });
        Ok(())
    }
}
