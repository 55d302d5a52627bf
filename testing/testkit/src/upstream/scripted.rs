//! An upstream that does not speak HTTP well: after each request head it sends the bytes it was given, whatever they
//! are. For response splitting, bad framing and the like.

use super::acceptor;
use crate::authority::{Shown, TestAuthority};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// A running scripted upstream; dropping it ends it.
#[derive(Debug)]
pub struct ScriptedUpstream {
    address: SocketAddr,
    authority: Arc<TestAuthority>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ScriptedUpstream {
    /// Over TLS (HTTP/1.1 in the handshake) for `hosts`: `reply` after each blank line from the client, and then the
    /// end of the stream.
    pub fn start(hosts: &[&str], reply: &[u8]) -> ScriptedUpstream {
        ScriptedUpstream::in_turn(hosts, &[reply])
    }

    /// The same with another reply each time; the last one from then on.
    pub fn in_turn(hosts: &[&str], replies: &[&[u8]]) -> ScriptedUpstream {
        let authority = Arc::new(TestAuthority::new());
        let tls = acceptor(&authority, hosts, Shown::Valid, &["http/1.1"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("the listener's address");
        let (stop, stopped) = oneshot::channel();
        let replies: Vec<Vec<u8>> = replies.iter().map(|reply| reply.to_vec()).collect();
        let script = Arc::new(Script { replies, given: AtomicUsize::new(0) });
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("the listener joins the runtime");
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(play(tls.clone(), stream, script.clone()));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        ScriptedUpstream { address, authority, stop: Some(stop), thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn authority(&self) -> &Arc<TestAuthority> {
        &self.authority
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Script {
    replies: Vec<Vec<u8>>,
    given: AtomicUsize,
}

impl Script {
    fn next(&self) -> &[u8] {
        let next = self.given.fetch_add(1, Ordering::Relaxed);
        self.replies.get(next).or(self.replies.last()).map_or(&[], Vec::as_slice)
    }
}

async fn play(tls: tokio_rustls::TlsAcceptor, stream: TcpStream, script: Arc<Script>) {
    if let Ok(mut stream) = tls.accept(stream).await {
        // The client may break off at any time; that is what these tests are for.
        let _ = converse(&mut stream, &script).await;
        let _ = stream.shutdown().await;
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, script: &Script) -> std::io::Result<()> {
    let mut last = [0; 4];
    loop {
        last.rotate_left(1);
        last[3] = stream.read_u8().await?;
        if &last == b"\r\n\r\n" {
            stream.write_all(script.next()).await?;
            return stream.flush().await;
        }
    }
}
