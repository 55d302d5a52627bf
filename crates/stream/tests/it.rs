//! Both sides of a stream, with sockets that are really there.

use bottle_stream::{
    CarryError, Opener, Wire, answering,
    frame::{CHANNELS, Frame, Kind, PAYLOAD, WINDOW},
    opening,
};
use std::{
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

type Ended = JoinHandle<Result<(), CarryError>>;

fn wire(stream: UnixStream) -> Wire {
    Wire { input: stream.try_clone().unwrap().into(), output: stream.into() }
}

/// A stream between two threads, whose far side connects to sockets of a directory.
struct Pair {
    directory: tempfile::TempDir,
    opener: Opener,
    near: Ended,
    far: Ended,
    /// Dropped, it ends the far side.
    alive: UnixStream,
}

impl Pair {
    fn new() -> Pair {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (alive, watched) = UnixStream::pair().unwrap();
        let (opener, carrier) = opening(wire(ours)).unwrap();
        let near = thread::spawn(move || carrier.run());
        let sockets = directory.path().to_owned();
        let far = thread::spawn(move || {
            let connect = |name: &str| UnixStream::connect(sockets.join(name)).map(Into::into);
            answering(wire(theirs), Some(watched.into()), |bytes, frames| frames.push(bytes), connect)?.run()
        });
        Pair { directory, opener, near, far, alive }
    }

    fn listen(&self, name: &str) -> UnixListener {
        UnixListener::bind(self.path(name)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Both sides end by themselves when nobody can ask for more.
    fn end(self) {
        drop(self.opener);
        self.near.join().unwrap().unwrap();
        self.far.join().unwrap().unwrap();
    }
}

fn echo(listener: UnixListener) {
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let _ = io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
}

#[test]
fn what_is_sent_comes_back_and_an_end_is_an_end_of_one_direction() {
    let pair = Pair::new();
    echo(pair.listen("echo"));
    let sent: Vec<u8> = (0..8 * WINDOW).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut stream = pair.opener.connect("echo").unwrap();
    let (mut writes, bytes) = (stream.try_clone().unwrap(), sent.clone());
    let writing = thread::spawn(move || {
        writes.write_all(&bytes).unwrap();
        writes.shutdown(Shutdown::Write).unwrap();
    });
    let mut come = Vec::new();
    stream.read_to_end(&mut come).unwrap();
    writing.join().unwrap();
    assert!(come == sent, "{} of {} bytes", come.len(), sent.len());
    drop(stream);
    pair.end();
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    let pair = Pair::new();
    echo(pair.listen("echo"));
    let mute = pair.listen("mute");
    let mut stuck = pair.opener.connect("mute").unwrap();
    let (_kept, _) = mute.accept().unwrap();
    stuck.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut written = 0;
    while let Ok(count @ 1..) = stuck.write(&[0; PAYLOAD]) {
        written += count;
        assert!(written < 16 << 20, "it is kept somewhere without a bound");
    }
    let mut others: Vec<UnixStream> = (0..50).map(|_| pair.opener.connect("echo").unwrap()).collect();
    for other in &mut others {
        other.write_all(b"through").unwrap();
        let mut come = [0; 7];
        other.read_exact(&mut come).unwrap();
        assert_eq!(&come, b"through");
    }
}

#[test]
fn first_bytes_go_first_and_what_is_held_goes_with_the_connection() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let pair = Pair::new();
    let listener = pair.listen("door");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let gone = Arc::new(AtomicUsize::new(0));
    pair.opener.carry("door", theirs.into(), b"first ", Held(Arc::clone(&gone))).unwrap();
    (&ours).write_all(b"then").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut come = String::new();
    far.read_to_string(&mut come).unwrap();
    assert_eq!((come.as_str(), gone.load(Ordering::SeqCst)), ("first then", 0));
    drop(far);
    assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 0);
    pair.end();
    assert_eq!(gone.load(Ordering::SeqCst), 1);
}

#[test]
fn a_socket_that_is_not_there_is_a_connection_that_is_closed() {
    let pair = Pair::new();
    echo(pair.listen("echo"));
    for name in ["missing", "a-name-that-is-longer-than-any-socket-has"] {
        let mut stream = pair.opener.connect(name).unwrap();
        // A connection that is reset has no end to be read.
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0, "{name}");
    }
    let mut stream = pair.opener.connect("echo").unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn connections_are_bounded_in_number() {
    let pair = Pair::new();
    echo(pair.listen("echo"));
    let mut streams: Vec<UnixStream> = (0..CHANNELS + 5).map(|_| pair.opener.connect("echo").unwrap()).collect();
    let mut closed = 0;
    for stream in &mut streams {
        let _ = stream.write_all(b"x");
        closed += usize::from(stream.read(&mut [0; 1]).unwrap_or(0) == 0);
    }
    assert_eq!(closed, 5);
}

#[test]
fn told_to_finish_it_sends_what_there_is_and_waits_for_nobody_else() {
    let pair = Pair::new();
    let listener = pair.listen("door");
    let idle = pair.opener.connect("door").unwrap();
    let (mut talks, _kept) = (pair.opener.connect("door").unwrap(), listener.accept().unwrap());
    let (mut far, _) = listener.accept().unwrap();
    let sent = vec![7; WINDOW + PAYLOAD];
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        talks.write_all(&bytes).unwrap();
        talks
    });
    let reading = thread::spawn(move || {
        let mut come = Vec::new();
        far.read_to_end(&mut come).map(|_| come)
    });
    let talks = writing.join().unwrap();
    pair.opener.finish().unwrap();
    pair.near.join().unwrap().unwrap();
    assert!(reading.join().unwrap().unwrap() == sent, "not all came");
    drop((idle, talks));
}

#[test]
fn with_whom_it_is_done_for_the_far_side_ends() {
    let pair = Pair::new();
    let listener = pair.listen("door");
    let mut stream = pair.opener.connect("door").unwrap();
    let _far = listener.accept().unwrap();
    drop(pair.alive);
    pair.far.join().unwrap().unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "the stream is gone, and with it what it carried");
    pair.near.join().unwrap().unwrap();
}

/// What the side that answers makes of frames of somebody who means it harm.
fn told(frames: &[Frame<'_>]) -> Result<(), CarryError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut bytes = Vec::new();
    for frame in frames {
        frame.write(&mut bytes);
    }
    let writing = thread::spawn(move || {
        let _ = (&ours).write_all(&bytes);
        let _ = ours.shutdown(Shutdown::Write);
        let _ = io::copy(&mut &ours, &mut io::sink());
    });
    let mut kept = Vec::new();
    let connect = |_: &str| {
        let (given, mine) = UnixStream::pair()?;
        kept.push(mine);
        Ok(given.into())
    };
    let ended = answering(wire(theirs), None, |bytes, frames| frames.push(bytes), connect).unwrap().run();
    writing.join().unwrap();
    ended
}

#[test]
fn what_is_out_of_turn_ends_the_stream() {
    let frame = |kind, channel, payload| Frame { kind, channel, payload };
    let open = frame(Kind::Open, 1, b"door");
    let full = [0; PAYLOAD];
    let data = frame(Kind::Data, 1, &full);
    told(&[open, data, frame(Kind::End, 1, b""), frame(Kind::Data, 1, b"")]).unwrap_err();
    told(&[open, frame(Kind::Reset, 1, b""), data, frame(Kind::End, 1, b"")]).expect("on its way when it was reset");
    for (what, frames) in [
        ("a channel twice", vec![open, open]),
        ("none at all", vec![frame(Kind::Data, 0, b"x")]),
        ("one that there never was", vec![open, frame(Kind::Credit, 2, &[0, 0, 0, 1])]),
        ("a credit for nothing", vec![open, frame(Kind::Credit, 1, &[0, 0, 0, 1])]),
        ("a credit of three bytes", vec![open, frame(Kind::Credit, 1, &[0, 0, 1])]),
        ("two ends", vec![open, frame(Kind::End, 1, b""), frame(Kind::End, 1, b"")]),
        ("a late greeting", vec![frame(Kind::Hello, 0, b"{}")]),
        // Its socket takes some of it, and the rest is more than the window.
        ("without end", std::iter::once(open).chain(std::iter::repeat_n(data, 64)).collect()),
    ] {
        assert!(matches!(told(&frames), Err(CarryError::Turn(_))), "{what}");
    }
}

#[test]
fn the_side_that_opens_is_told_to_open_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_opener, carrier) = opening(wire(theirs)).unwrap();
    let mut bytes = Vec::new();
    Frame { kind: Kind::Open, channel: 1, payload: b"door" }.write(&mut bytes);
    (&ours).write_all(&bytes).unwrap();
    assert!(matches!(carrier.run(), Err(CarryError::Turn(_))));
}
