//! An HTTP proxy that obeys everybody: no policy, no interception. What a test does through a gate must have another
//! end through this one, or the test proves nothing.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread::JoinHandle,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// What each name, in lower case and without a trailing dot, stands for. Other names are looked up as any program
/// would, so that every spelling of loopback is one.
pub type Names = BTreeMap<String, Destination>;

/// Where a name leads: to one address for tunnels, to another for plain requests.
#[derive(Debug, Clone, Copy)]
pub struct Destination {
    pub tls: SocketAddr,
    pub plain: SocketAddr,
}

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub struct OpenProxy {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OpenProxy {
    pub fn start(names: Names) -> std::io::Result<OpenProxy> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let names = Arc::new(names);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        // A client that breaks off is no event here.
                        let names = names.clone();
                        tokio::spawn(async move { obey(stream, &names).await });
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(OpenProxy { address, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OpenProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn obey(mut client: TcpStream, names: &Names) -> std::io::Result<()> {
    loop {
        let Some(head) = read_head(&mut client).await? else { return Ok(()) };
        let words: Vec<&str> = head.split(' ').collect();
        let [method, target, ..] = words.as_slice() else { return Ok(()) };
        if *method == "CONNECT" {
            let Some(address) = lookup(names, target, true) else { return refuse(&mut client).await };
            let mut server = TcpStream::connect(address).await?;
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            return copy_bidirectional(&mut client, &mut server).await.map(|_| ());
        }
        let Some((authority, path)) = target.strip_prefix("http://").map(split_path) else {
            return refuse(&mut client).await;
        };
        let Some(address) = lookup(names, authority, false) else { return refuse(&mut client).await };
        let asked = head.replacen(target, path, 1);
        relay(&mut client, address, &asked).await?;
    }
}

/// One plain request without a body, and everything that answers it.
async fn relay(client: &mut TcpStream, address: SocketAddr, head: &str) -> std::io::Result<()> {
    let mut server = TcpStream::connect(address).await?;
    let head = head.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    client.write_all(&answer).await
}

async fn refuse(client: &mut TcpStream) -> std::io::Result<()> {
    client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await
}

async fn read_head(client: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn split_path(rest: &str) -> (&str, &str) {
    rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash))
}

fn lookup(names: &Names, authority: &str, tls: bool) -> Option<SocketAddr> {
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let name = host.to_ascii_lowercase();
    match names.get(name.trim_end_matches('.')) {
        Some(known) if port == 443 => Some(known.tls),
        Some(known) if port == 80 => Some(known.plain),
        Some(_) => Some(([127, 0, 0, 1], port).into()),
        None => (host.trim_matches(['[', ']']), port).to_socket_addrs().ok()?.next(),
    }
}
