//! One client at one program: frames in, frames out.

use super::{init::Init, terminal::Terminal};
use crate::{
    protocol::{Frame, FrameDecoder, MAX_PAYLOAD},
    socket::{AsyncLink, SocketError},
};
use std::rc::Rc;
use tokio::sync::{mpsc, watch};

/// Typed and not yet taken by the program.
const TYPED_AHEAD: usize = 64 << 10;

/// How a client left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// After being told the exit code.
    Ended,
    Detached,
    /// Without a word.
    Closed,
}

/// What a client looks at.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) init: Rc<Init>,
    pub(crate) program: u32,
    pub(crate) terminal: Option<Rc<Terminal>>,
    /// The exit code to tell; closed without one where it will never be known.
    pub(crate) ended: watch::Receiver<Option<u8>>,
    /// How often to ring; of the agent's alone.
    pub(crate) bells: Option<watch::Receiver<u64>>,
}

/// Serves the client until one of the two has had enough.
pub(crate) async fn serve(link: AsyncLink, seat: Seat) -> Left {
    converse(link, seat).await.unwrap_or(Left::Closed)
}

async fn converse(link: AsyncLink, seat: Seat) -> Result<Left, SocketError> {
    let sender = link.sender();
    let mut client = Client { seat: &seat, frames: FrameDecoder::default(), typed: Vec::new() };
    // The client's first frame tells that it takes frames from now on.
    if let Some(left) = client.heard(&read(&link).await?) {
        return Ok(left);
    }
    let mut ended = seat.ended.clone();
    let mut bells = seat.bells.clone();
    let mut view = seat.terminal.as_ref().map(|terminal| terminal.view());
    loop {
        tokio::select! {
            bytes = read(&link), if client.typed.len() < TYPED_AHEAD => {
                if let Some(left) = client.heard(&bytes?) {
                    return Ok(left);
                }
            }
            written = press(&seat, &client.typed), if !client.typed.is_empty() => {
                client.typed.drain(..written.min(client.typed.len()));
            }
            chunk = show(&mut view), if view.is_some() => match chunk {
                Some(chunk) => for part in chunk.chunks(MAX_PAYLOAD) {
                    sender.send_bytes(&Frame::Data(part.to_vec()).encode(), &[]).await?;
                },
                None => view = None,
            },
            () = rings(&mut bells) => sender.send_bytes(&Frame::Bell.encode(), &[]).await?,
            code = code(&mut ended), if view.is_none() => {
                let last = code.map_or_else(|| Frame::Gone("the bottle ended".to_owned()), Frame::Exit);
                sender.send_bytes(&last.encode(), &[]).await?;
                return Ok(Left::Ended);
            }
        }
    }
}

async fn read(link: &AsyncLink) -> Result<Vec<u8>, SocketError> {
    let mut bytes = vec![0; 4096];
    let count = link.read(&mut bytes).await?;
    bytes.truncate(count);
    Ok(bytes)
}

/// What a client has said and what came of it.
struct Client<'a> {
    seat: &'a Seat,
    frames: FrameDecoder,
    typed: Vec<u8>,
}

impl Client<'_> {
    /// Obeys the frames in these bytes; no bytes are the end.
    fn heard(&mut self, bytes: &[u8]) -> Option<Left> {
        if bytes.is_empty() {
            return Some(Left::Closed);
        }
        self.frames.push(bytes);
        loop {
            match (self.frames.next_frame(), &self.seat.terminal) {
                (Err(_), _) => return Some(Left::Closed),
                (Ok(None), _) => return None,
                (Ok(Some(Frame::Data(bytes))), Some(_)) => self.typed.extend(bytes),
                (Ok(Some(Frame::Resize(size))), Some(terminal)) => terminal.resize(size),
                (Ok(Some(Frame::Signal(signal @ 1..=64))), _) => self.seat.init.signal(self.seat.program, signal),
                (Ok(Some(Frame::Detach)), _) => return Some(Left::Detached),
                (Ok(Some(_)), _) => {}
            }
        }
    }
}

/// A terminal that takes no more is going to end; what was typed is of no use then.
async fn press(seat: &Seat, typed: &[u8]) -> usize {
    match &seat.terminal {
        Some(terminal) => terminal.write(typed).await.unwrap_or(typed.len()),
        None => typed.len(),
    }
}

async fn show(view: &mut Option<mpsc::Receiver<Rc<[u8]>>>) -> Option<Rc<[u8]>> {
    match view {
        Some(view) => view.recv().await,
        None => None,
    }
}

/// Comes when it is to ring, once for all that were missed.
async fn rings(bells: &mut Option<watch::Receiver<u64>>) {
    if let Some(bell) = bells
        && bell.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn code(ended: &mut watch::Receiver<Option<u8>>) -> Option<u8> {
    ended.wait_for(Option::is_some).await.ok().and_then(|code| *code)
}
