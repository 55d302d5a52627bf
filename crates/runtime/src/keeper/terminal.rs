//! The keeper's side of a program's terminal: what it shows goes to everyone who looks, and is kept for who comes later.
//!
//! Invariant: memory is bounded. A viewer that does not read makes the program wait, as a real terminal does, but only
//! for so long; then that viewer is let go.

use super::{init::Init, output::Output};
use crate::sys;
use bottle_spec::init_link::WindowSize;
use rustix::termios::{Winsize, tcsetwinsize};
use std::{cell::RefCell, collections::VecDeque, io, os::fd::OwnedFd, rc::Rc, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

/// What a later viewer is shown of what was before.
const SCROLLBACK: usize = 256 << 10;
const CHUNK: usize = 16 << 10;
/// Chunks on their way to one viewer.
const QUEUE: usize = 8;
const VIEWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long after its program's end the terminal may still give output: others may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(300);

type Chunk = Rc<[u8]>;

#[derive(Debug)]
pub(crate) struct Terminal {
    master: AsyncFd<OwnedFd>,
    /// Whose terminal it is, where that is in a machine, and who can set its size there.
    far: Option<(u32, Rc<Init>)>,
    shown: RefCell<VecDeque<u8>>,
    /// `None` once the terminal has nothing more to show.
    viewers: RefCell<Option<Vec<mpsc::Sender<Chunk>>>>,
}

impl Terminal {
    /// `master` may be what a machine carries out of its own, of program `id`.
    pub(crate) fn new(master: OwnedFd, id: u32, init: Rc<Init>) -> io::Result<Rc<Terminal>> {
        let far = (!rustix::termios::isatty(&master)).then_some((id, init));
        let master = sys::watch(master, Interest::READABLE | Interest::WRITABLE)?;
        let viewers = RefCell::new(Some(Vec::new()));
        Ok(Rc::new(Terminal { master, far, shown: RefCell::default(), viewers }))
    }

    /// Everything kept, then what comes; ends when the terminal has nothing more to show.
    pub(crate) fn view(&self) -> mpsc::Receiver<Chunk> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let kept: Vec<u8> = self.shown.borrow().iter().copied().collect();
        if !kept.is_empty() {
            // The queue is new and has room for one.
            let _ = sender.try_send(Chunk::from(kept));
        }
        if let Some(viewers) = self.viewers.borrow_mut().as_mut() {
            viewers.push(sender);
        }
        receiver
    }

    pub(crate) fn viewers(&self) -> usize {
        self.viewers.borrow().as_ref().map_or(0, Vec::len)
    }

    /// Types as much as fits.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.master.async_io(Interest::WRITABLE, |master| Ok(rustix::io::write(master, bytes)?)).await
    }

    pub(crate) fn resize(&self, size: WindowSize) {
        if let Some((id, init)) = &self.far {
            return init.resize(*id, size);
        }
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal whose program is gone needs no size.
        let _ = tcsetwinsize(self.master.get_ref(), size);
    }

    /// Carries output until the terminal closes, or a moment after its program's end.
    pub(crate) async fn pump(&self, mut exit: watch::Receiver<Option<u8>>, mut output: Option<Output>) {
        let last_words = async {
            // Init gone is an end, too.
            let _ = exit.wait_for(Option::is_some).await;
            sleep(LAST_WORDS).await;
        };
        tokio::pin!(last_words);
        let mut bytes = vec![0; CHUNK];
        loop {
            let read = tokio::select! {
                biased;
                read = self.master.async_io(Interest::READABLE, |master| Ok(rustix::io::read(master, &mut *bytes)?)) => read,
                () = &mut last_words => break,
            };
            // EIO: nobody has the other side open any more.
            let Ok(count @ 1..) = read else { break };
            let chunk = bytes.get(..count).unwrap_or_default();
            if let Some(output) = &mut output {
                output.write(chunk);
            }
            self.keep(chunk);
            self.show(Chunk::from(chunk)).await;
        }
        self.viewers.replace(None);
    }

    fn keep(&self, chunk: &[u8]) {
        let mut shown = self.shown.borrow_mut();
        shown.extend(chunk);
        let surplus = shown.len().saturating_sub(SCROLLBACK);
        shown.drain(..surplus);
    }

    async fn show(&self, chunk: Chunk) {
        // Taken out for the time of waiting: someone may begin to look meanwhile.
        let viewers = self.viewers.replace(Some(Vec::new())).unwrap_or_default();
        let mut staying = Vec::with_capacity(viewers.len());
        for viewer in viewers {
            if let Ok(Ok(())) = timeout(VIEWER_PATIENCE, viewer.send(Rc::clone(&chunk))).await {
                staying.push(viewer);
            }
        }
        if let Some(viewers) = self.viewers.borrow_mut().as_mut() {
            viewers.append(&mut staying);
        }
    }
}
