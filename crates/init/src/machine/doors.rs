//! The doors' other side in the machine: each connection that a listener takes becomes one to the socket that leads out.
//!
//! A connection at a transparent door is told where it was going, in four bytes before all others, since that does not
//! show outside. A question to the resolver by datagram goes out as one over a connection (RFC 7766).

use super::{PorterError, carry, way::Way};
use bottle_spec::{door::Door, machine_link::socket_name};
use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::{SocketAddrAny, SocketFlags, accept_with},
};
use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Connections that are carried at once; more are closed. The gate has a limit of its own.
const MOST: usize = 2048;
/// A question by datagram, and its answer.
const LONGEST: usize = 4096;
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Starts carrying; goes on until this process ends.
pub(super) fn carry(way: &Way, listeners: Vec<(Door, OwnedFd)>) -> Result<(), PorterError> {
    let carried = Arc::new(AtomicUsize::new(0));
    for (door, listener) in listeners {
        let name = socket_name(door).or_else(|| socket_name(Door::ResolverTcp)).unwrap_or_default();
        let out = Out { way: way.clone(), name };
        let carried = Arc::clone(&carried);
        let work: Box<dyn FnOnce() + Send> = if door.is_datagram() {
            Box::new(move || answer(&UdpSocket::from(listener), &out))
        } else {
            Box::new(move || take(door, &listener, &out, &carried))
        };
        carry::thread(work).map_err(PorterError::Thread)?;
    }
    Ok(())
}

/// The socket that a door's connections go to.
struct Out {
    way: Way,
    name: String,
}

fn take(door: Door, listener: &OwnedFd, out: &Out, carried: &Arc<AtomicUsize>) {
    // It was made for somebody who waits for many.
    let _ = rustix::io::ioctl_fionbio(listener, false);
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(connection) => {
                if let Some(place) = Place::take(carried) {
                    // Nobody answers: it is closed, as where nobody listens.
                    let _ = lead_out(door, connection, out, place);
                }
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            // Out of descriptors; they come back.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn lead_out(door: Door, connection: OwnedFd, out: &Out, place: Place) -> io::Result<()> {
    let _ = rustix::net::sockopt::set_tcp_nodelay(&connection, true);
    let destination = destination(&connection)?.octets();
    let first: &[u8] = if let Door::Transparent { .. } = door { &destination } else { &[] };
    out.way.carry(&out.name, connection, first, place)
}

fn destination(connection: impl AsFd) -> io::Result<Ipv4Addr> {
    let address: SocketAddrAny = rustix::net::getsockname(connection)?;
    Ok(*SocketAddrV4::try_from(address)?.ip())
}

/// One of [`MOST`].
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(carried: &Arc<AtomicUsize>) -> Option<Place> {
        let place = Place(Arc::clone(carried));
        (carried.fetch_add(1, Ordering::Relaxed) < MOST).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One question after the other, over one connection for as long as it lasts. What is not answered is asked again by
/// whoever asked.
fn answer(questions: &UdpSocket, out: &Out) {
    let _ = questions.set_nonblocking(false);
    let mut line = None;
    let mut question = [0; LONGEST];
    loop {
        let Ok((length, peer)) = questions.recv_from(&mut question) else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let asked = question.get(..length).unwrap_or_default();
        // The connection may have idled too long: then it is asked once more over a new one.
        let reply = ask(&mut line, out, asked).or_else(|_| ask(&mut line, out, asked));
        if let Ok(reply) = reply {
            let _ = questions.send_to(&reply, peer);
        }
    }
}

fn ask(line: &mut Option<UnixStream>, out: &Out, question: &[u8]) -> io::Result<Vec<u8>> {
    // Of a line that failed nothing is kept.
    let mut stream = match line.take() {
        Some(stream) => stream,
        None => out.way.connect(&out.name)?,
    };
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    *line = Some(stream);
    Ok(reply)
}
