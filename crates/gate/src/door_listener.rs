//! Where a door's connections are taken from: a TCP listener in the bottle's network, or, where the bottle is a machine
//! of its own, a Unix socket that its connections are carried to.
//!
//! Invariant: what is carried is handled as what comes directly, by the same code. The two differ in one thing: a
//! carried connection has no address that says where it was going. At a transparent door it says so itself, in its
//! first four bytes ([`bottle_spec::door::Door::Transparent`]); whoever lies there names another name, which the policy
//! is asked about all the same.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream, UnixListener},
    time::timeout,
};

/// Whoever carries a connection says at once where it was going.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// One door's listener.
#[derive(Debug)]
pub enum DoorListener {
    Direct(TcpListener),
    Carried(UnixListener),
}

/// A connection at a door.
#[derive(Debug)]
pub struct Arrival {
    /// A Unix socket where it was carried, which reads, writes and ends as one of TCP does.
    pub stream: TcpStream,
    carried: bool,
}

impl DoorListener {
    /// Takes a listener that the keeper opened; which kind it is, the kernel knows.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<DoorListener> {
        if rustix::net::sockopt::socket_domain(&descriptor)? == rustix::net::AddressFamily::UNIX {
            let listener = std::os::unix::net::UnixListener::from(descriptor);
            listener.set_nonblocking(true)?;
            return UnixListener::from_std(listener).map(DoorListener::Carried);
        }
        let listener = std::net::TcpListener::from(descriptor);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(DoorListener::Direct)
    }

    pub async fn accept(&self) -> io::Result<Arrival> {
        match self {
            DoorListener::Direct(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Arrival { stream, carried: false })
            }
            DoorListener::Carried(listener) => {
                let (stream, _) = listener.accept().await?;
                let stream = std::net::TcpStream::from(OwnedFd::from(stream.into_std()?));
                Ok(Arrival { stream: TcpStream::from_std(stream)?, carried: true })
            }
        }
    }
}

impl From<TcpListener> for DoorListener {
    fn from(listener: TcpListener) -> DoorListener {
        DoorListener::Direct(listener)
    }
}

impl Arrival {
    /// The synthetic address that it was made to, and the connection with nothing but the client's bytes left in it.
    pub async fn destination(mut self) -> (Option<Ipv4Addr>, TcpStream) {
        if !self.carried {
            let address = match self.stream.local_addr().map(|address| address.ip()) {
                Ok(IpAddr::V4(address)) => Some(address),
                _ => None,
            };
            return (address, self.stream);
        }
        let mut address = [0; 4];
        let said = timeout(SAID_WITHIN, self.stream.read_exact(&mut address)).await;
        (matches!(said, Ok(Ok(_))).then(|| address.into()), self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[tokio::test]
    async fn a_carried_connection_says_where_it_was_going_and_is_otherwise_the_same() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("door");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let door = DoorListener::adopt(listener.into()).unwrap();
        let client = std::thread::spawn(move || {
            let mut client = std::os::unix::net::UnixStream::connect(path).unwrap();
            client.write_all(&[127, 64, 0, 9]).unwrap();
            client.write_all(b"hello").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        let (address, mut stream) = door.accept().await.unwrap().destination().await;
        assert_eq!(address, Some(Ipv4Addr::new(127, 64, 0, 9)));
        let mut said = [0; 5];
        assert_eq!(stream.peek(&mut said).await.unwrap(), 5);
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"and back").await.unwrap();
        drop(stream);
        assert_eq!(client.join().unwrap(), "and back");
    }

    #[tokio::test]
    async fn one_that_does_not_say_it_was_going_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("door");
        let door = DoorListener::adopt(std::os::unix::net::UnixListener::bind(&path).unwrap().into()).unwrap();
        let mut client = std::os::unix::net::UnixStream::connect(path).unwrap();
        client.write_all(&[127, 64]).unwrap();
        drop(client);
        assert_eq!(door.accept().await.unwrap().destination().await.0, None);
    }

    #[tokio::test]
    async fn a_direct_one_goes_where_its_address_says() {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let door = DoorListener::adopt(listener.into()).unwrap();
        let _client = std::net::TcpStream::connect(("127.64.0.7", port)).unwrap();
        let (address, _) = door.accept().await.unwrap().destination().await;
        assert_eq!(address, Some(Ipv4Addr::new(127, 64, 0, 7)));
    }
}
