//! Between init's link, where descriptors ride, and the keeper's, where each is a connection of its own.
//!
//! Two threads, one for each direction, and those that carry bytes. What neither side can do without the other is
//! answered here: a stream that cannot be had is a program that cannot be started.

use super::{Keeper, PorterError, carry};
use crate::link::{Link, LinkError};
use bottle_spec::{
    init_link::{InitToKeeper, KeeperToInit, WindowSize},
    machine_link::Purpose,
    wire::{self, Decoder},
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    pipe::PipeFlags,
    termios::Winsize,
};
use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// For what is still on its way out when init has ended.
const LAST_BYTES: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// What both threads use.
struct Between {
    keeper: Keeper,
    upward: Mutex<UnixStream>,
    /// The master sides of the terminals of programs that run.
    terminals: Mutex<HashMap<u32, OwnedFd>>,
    /// Held by every thread that carries bytes out.
    carriers: Arc<()>,
}

/// Says something to the keeper.
pub(super) fn tell(upward: &mut UnixStream, message: &InitToKeeper) -> io::Result<()> {
    upward.write_all(&wire::encode(message).map_err(io::Error::other)?)
}

/// Goes on until init or the keeper is gone.
pub(super) fn relay(
    keeper: &Keeper,
    upward: &mut UnixStream,
    downward: &mut Link,
    end_init: impl FnOnce() + Send + 'static,
) -> Result<(), PorterError> {
    let clone = |socket: &UnixStream| socket.try_clone().map_err(PorterError::Socket);
    let between = Arc::new(Between {
        keeper: keeper.clone(),
        upward: Mutex::new(clone(upward)?),
        terminals: Mutex::default(),
        carriers: Arc::new(()),
    });
    let orders = clone(upward)?;
    let to_init = downward.another().map_err(PorterError::Socket)?;
    let below = Arc::clone(&between);
    carry::thread(move || {
        let _ = below.pass_orders(orders, to_init);
        // The keeper is gone, and with it the bottle's right to run.
        end_init();
    })
    .map_err(PorterError::Thread)?;
    let ended = between.pass_answers(downward);
    let until = Instant::now() + LAST_BYTES;
    while Arc::strong_count(&between.carriers) > 1 && Instant::now() < until {
        thread::sleep(PAUSE);
    }
    match ended {
        Ok(()) | Err(LinkError::Closed) => Ok(()),
        Err(error) => Err(PorterError::Init(error)),
    }
}

impl Between {
    fn pass_orders(&self, mut orders: UnixStream, to_init: Link) -> io::Result<()> {
        let mut decoder = Decoder::default();
        let mut bytes = [0; 4096];
        loop {
            while let Some(order) = decoder.message::<KeeperToInit>().map_err(io::Error::other)? {
                self.pass_order(order, &to_init).map_err(io::Error::other)?;
            }
            match orders.read(&mut bytes)? {
                0 => return Ok(()),
                count => decoder.push(bytes.get(..count).unwrap_or_default()),
            }
        }
    }

    fn pass_order(&self, order: KeeperToInit, to_init: &Link) -> Result<(), LinkError> {
        match order {
            KeeperToInit::Resize { id, size } => {
                if let Some(master) = lock(&self.terminals).get(&id) {
                    resize(master, size);
                }
                Ok(())
            }
            KeeperToInit::Spawn(spawn) if spawn.tty.is_none() => match self.streams(spawn.id) {
                Ok(streams) => {
                    let riding: Vec<_> = streams.iter().map(|stream| stream.as_fd()).collect();
                    to_init.send_with(&KeeperToInit::Spawn(spawn), &riding)
                }
                Err(error) => {
                    let message = format!("its standard input, output and error cannot be had: {error}");
                    self.tell(&InitToKeeper::SpawnFailed { id: spawn.id, code: 126, message });
                    Ok(())
                }
            },
            order => to_init.send_with(&order, &[]),
        }
    }

    /// The program's ends of three pipes, the others of which are carried.
    fn streams(&self, id: u32) -> io::Result<[OwnedFd; 3]> {
        let input = OwnedFd::from(self.keeper.connect(Purpose::Input(id))?);
        let (reads, fed) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        carry::thread(move || carry::one_way(input, fed))?;
        let outward = |purpose: Purpose| -> io::Result<OwnedFd> {
            let output = OwnedFd::from(self.keeper.connect(purpose)?);
            let (taken, writes) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let carrier = Arc::clone(&self.carriers);
            carry::thread(move || {
                carry::one_way(taken, output);
                drop(carrier);
            })?;
            Ok(writes)
        };
        Ok([reads, outward(Purpose::Output(id))?, outward(Purpose::Error(id))?])
    }

    fn pass_answers(&self, from_init: &mut Link) -> Result<(), LinkError> {
        loop {
            let answer = from_init.receive::<InitToKeeper>()?;
            match &answer {
                InitToKeeper::Spawned { id } => {
                    if let Some(master) = from_init.descriptor() {
                        // Without its stream a terminal is one that nobody looks at.
                        let _ = self.terminal(*id, master);
                    }
                }
                InitToKeeper::Exited { id, .. } => {
                    drop(lock(&self.terminals).remove(id));
                    self.keeper.way.sync();
                }
                InitToKeeper::Dialed { id, ok: true } => {
                    if let Some(socket) = from_init.descriptor() {
                        let id = *id;
                        let ok = self.dialed(id, socket).is_ok();
                        self.tell(&InitToKeeper::Dialed { id, ok });
                    }
                    continue;
                }
                _ => {}
            }
            self.tell(&answer);
        }
    }

    fn terminal(&self, id: u32, master: OwnedFd) -> io::Result<()> {
        let stream = Arc::new(OwnedFd::from(self.keeper.connect(Purpose::Terminal(id))?));
        let (typed, shown) = (master.try_clone()?, master.try_clone()?);
        lock(&self.terminals).insert(id, master);
        let typing = Arc::clone(&stream);
        carry::thread(move || carry::one_way(&*typing, typed))?;
        let carrier = Arc::clone(&self.carriers);
        carry::thread(move || {
            carry::one_way(shown, &*stream);
            drop(carrier);
        })
    }

    fn dialed(&self, id: u32, socket: OwnedFd) -> io::Result<()> {
        let stream = self.keeper.connect(Purpose::Dial(id))?;
        // It was made for a loop that waits for many; a thread of its own carries it here.
        rustix::io::ioctl_fionbio(&socket, false)?;
        carry::both(socket, stream.into(), ())
    }

    /// A keeper that is gone is noticed where it is read from.
    fn tell(&self, message: &InitToKeeper) {
        let _ = tell(&mut lock(&self.upward), message);
    }
}

fn resize(master: &OwnedFd, size: WindowSize) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // A terminal whose program is gone needs no size.
    let _ = rustix::termios::tcsetwinsize(master, size);
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
