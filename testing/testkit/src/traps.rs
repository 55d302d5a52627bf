//! Listeners on the host that nobody in a bottle may reach. Each answers whatever it is sent with a word that is found
//! nowhere else.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixListener},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const POLL: Duration = Duration::from_millis(10);

/// Running traps; dropping them closes them all.
#[derive(Debug)]
pub struct Traps {
    pub tcp: SocketAddr,
    /// `None` where the machine has no `::1`.
    pub tcp6: Option<SocketAddr>,
    pub udp: SocketAddr,
    /// `None` where the machine has no `::1`.
    pub udp6: Option<SocketAddr>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traps {
    /// On loopback, at the path `socket` and under the abstract name `name`.
    pub fn set(word: &str, socket: &Path, name: &str) -> std::io::Result<Traps> {
        let stop = Arc::new(AtomicBool::new(false));
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let tcp6 = TcpListener::bind("[::1]:0").ok();
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let udp6 = UdpSocket::bind("[::1]:0").ok();
        let by_path = UnixListener::bind(socket)?;
        let by_name = UnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)?;
        let mut traps = Traps {
            tcp: tcp.local_addr()?,
            tcp6: tcp6.as_ref().map(TcpListener::local_addr).transpose()?,
            udp: udp.local_addr()?,
            udp6: udp6.as_ref().map(UdpSocket::local_addr).transpose()?,
            stop,
            threads: Vec::new(),
        };
        for listener in [Some(tcp), tcp6].into_iter().flatten() {
            listener.set_nonblocking(true)?;
            traps.serve(word, move || listener.accept().map(|(stream, _)| stream));
        }
        for listener in [by_path, by_name] {
            listener.set_nonblocking(true)?;
            traps.serve(word, move || listener.accept().map(|(stream, _)| stream));
        }
        for socket in [Some(udp), udp6].into_iter().flatten() {
            socket.set_read_timeout(Some(POLL))?;
            traps.answer_datagrams(word, socket);
        }
        Ok(traps)
    }

    fn serve<S: Read + Write + 'static>(
        &mut self,
        word: &str,
        mut accept: impl FnMut() -> std::io::Result<S> + Send + 'static,
    ) {
        let (stop, word) = (self.stop.clone(), word.as_bytes().to_vec());
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match accept() {
                    // Whoever connected may be gone again.
                    Ok(mut stream) => drop(stream.write_all(&word)),
                    Err(_) => std::thread::sleep(POLL),
                }
            }
        }));
    }

    fn answer_datagrams(&mut self, word: &str, socket: UdpSocket) {
        let (stop, word) = (self.stop.clone(), word.as_bytes().to_vec());
        self.threads.push(std::thread::spawn(move || {
            let mut question = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut question) {
                    let _ = socket.send_to(&word, from);
                }
            }
        }));
    }
}

impl Drop for Traps {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
