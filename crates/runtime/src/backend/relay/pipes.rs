//! What a program in a machine reads and writes, joined to what a client handed over for it: a thread for each.

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::Shutdown,
};
use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    thread,
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::timeout,
};

const CHUNK: usize = 64 << 10;
const STACK: usize = 128 << 10;

/// The three of one program.
#[derive(Debug)]
pub(super) struct Pipes {
    input: Feeding,
    /// Ends when output and error have.
    outputs: [JoinHandle<()>; 2],
}

/// What feeds a program ends with it, and not before its client does.
#[derive(Debug)]
struct Feeding {
    joined: JoinHandle<()>,
    ended: Rc<watch::Sender<bool>>,
}

impl Pipes {
    /// Each is joined when its stream comes; where that never does, the end that was handed over is closed.
    pub(super) fn join(ends: [OwnedFd; 3], streams: [oneshot::Receiver<UnixStream>; 3]) -> Pipes {
        let ([input, output, error], [fed, said, complained]) = (ends, streams);
        let outputs = [(said, output), (complained, error)].map(|(stream, end)| {
            spawn_local(async move {
                let Ok(stream) = stream.await else { return };
                let (done, ended) = oneshot::channel::<()>();
                let copying = start(move || {
                    copy(&stream, &end);
                    drop(done);
                });
                if copying {
                    let _ = ended.await;
                }
            })
        });
        let ended = Rc::new(watch::Sender::new(false));
        let mut program = ended.subscribe();
        let joined = spawn_local(async move {
            let Ok(stream) = fed.await else { return };
            let Ok(held) = stream.try_clone() else { return };
            if start(move || feed(&input, &stream)) {
                let _ = program.wait_for(|ended| *ended).await;
                // Whoever feeds it is told, and so is the porter.
                let _ = held.shutdown(std::net::Shutdown::Both);
            }
        });
        Pipes { input: Feeding { joined, ended }, outputs }
    }

    /// The program has ended: waits for its last words, for at most so long.
    pub(super) async fn end(self, patience: Duration) {
        let Pipes { input: Feeding { joined, ended }, outputs } = self;
        ended.send_replace(true);
        let last = async {
            for output in outputs {
                let _ = output.await;
            }
        };
        let _ = timeout(patience, last).await;
        // By now it has told its stream, or never got one.
        joined.abort();
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().name("pipe".to_owned()).stack_size(STACK).spawn(work).is_ok()
}

/// Until `from` ends, or nobody takes any more.
fn copy(from: impl AsFd, to: impl AsFd) {
    let mut bytes = vec![0; CHUNK];
    loop {
        match rustix::io::read(&from, &mut *bytes) {
            Ok(0) => return,
            Ok(count) => {
                if !write_all(&to, bytes.get(..count).unwrap_or_default()) {
                    let _ = rustix::net::shutdown(&from, Shutdown::Both);
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&from, PollFlags::IN),
            Err(_) => return,
        }
    }
}

/// As [`copy`], and until the stream is closed from the other side, whether or not there is anything to copy.
fn feed(from: &OwnedFd, to: &UnixStream) {
    let mut bytes = vec![0; CHUNK];
    loop {
        let mut watched = [PollFd::new(from, PollFlags::IN), PollFd::new(to, PollFlags::RDHUP)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let [input, stream] = watched.map(|watched| watched.revents());
        if stream.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP) {
            return;
        }
        if input.is_empty() {
            continue;
        }
        match rustix::io::read(from, &mut *bytes) {
            Ok(0) | Err(Errno::IO) => break,
            Ok(count) => {
                if !write_all(to, bytes.get(..count).unwrap_or_default()) {
                    return;
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&to, PollFlags::OUT),
            Err(_) => return false,
        }
    }
    true
}

fn wait(on: impl AsFd, what: PollFlags) {
    let _ = poll(&mut [PollFd::new(&on, what)], None);
}
