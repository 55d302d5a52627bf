//! Connections to an engine, wherever it is: each is one descriptor that bytes come from and go to.
//!
//! The library connects to sockets of this machine itself. To others it speaks over what is dialled here, one connection
//! for each question: what is asked is little.

use crate::engine_address::EngineAddress;
use bollard::{BollardRequest, ClientVersion, Docker, errors::Error};
use hyper::{Request, Response, Uri, body::Incoming, header};
use hyper_util::rt::TokioIo;
use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    pin::Pin,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// Of a name that is looked up, and a machine that may be gone.
const CONNECTING: Duration = Duration::from_secs(20);

pub(super) async fn dial(address: &EngineAddress) -> io::Result<UnixStream> {
    match address {
        EngineAddress::Socket(path) => UnixStream::connect(path).await,
        EngineAddress::Tcp(place) => {
            let connecting = tokio::time::timeout(CONNECTING, TcpStream::connect(place));
            let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            stream.set_nodelay(true)?;
            // A peer that is switched off says nothing.
            rustix::net::sockopt::set_socket_keepalive(stream.as_fd(), true)?;
            // Of a connected stream nothing is asked from here on that depends on its family.
            UnixStream::from_std(OwnedFd::from(stream.into_std()?).into())
        }
        EngineAddress::Ssh(place) => by_ssh(place),
    }
}

/// A program of the user's own, which has keys, known hosts and jumps as its files say. A keeper has no environment, so
/// neither has this for anybody: what would fail later fails at once. It ends with the connection.
fn by_ssh(place: &str) -> io::Result<UnixStream> {
    let (ours, theirs) = StdStream::pair()?;
    let mut command = Command::new("ssh");
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    command.args(port.iter().flat_map(|port| ["-p", port]));
    command.args(["--", host, "docker", "system", "dial-stdio"]);
    command.stdin(OwnedFd::from(theirs.try_clone()?)).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut child = command.spawn()?;
    std::thread::Builder::new().name("ssh".to_owned()).stack_size(64 << 10).spawn(move || child.wait())?;
    ours.set_nonblocking(true)?;
    UnixStream::from_std(ours)
}

/// The library, speaking to that engine.
pub(super) fn client(address: &EngineAddress, patience: Duration, version: &ClientVersion) -> Result<Docker, Error> {
    if let EngineAddress::Socket(path) = address {
        return Docker::connect_with_unix(&path.to_string_lossy(), patience.as_secs(), version);
    }
    let address = address.clone();
    let ask = move |request: BollardRequest| -> Asking { Box::pin(ask(address.clone(), request)) };
    Docker::connect_with_custom_transport(ask, Some("http://engine"), patience.as_secs(), version)
}

type Asking = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

async fn ask(address: EngineAddress, request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(io::Error::other)?;
    parts.headers.insert(header::HOST, header::HeaderValue::from_static("engine"));
    let stream = TokioIo::new(dial(&address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // Until the answer has been read.
    tokio::spawn(connection);
    Ok(sender.send_request(Request::from_parts(parts, body)).await?)
}

/// Head and body of an answer of at most so many bytes.
pub(super) async fn get(address: &EngineAddress, path: &str, most: u64) -> io::Result<(String, Vec<u8>)> {
    let mut stream = dial(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(most).read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    Ok((String::from_utf8_lossy(&bytes).into_owned(), body))
}
