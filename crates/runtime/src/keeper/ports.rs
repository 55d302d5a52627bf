//! Published ports: connections to the host's loopback go on to the same port of the bottle's.
//!
//! The keeper copies bytes and looks at none. Not a door: it leads in, not out.

use super::init::Init;
use std::{io, net::Ipv4Addr, os::fd::OwnedFd, rc::Rc, sync::Arc};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::spawn_local,
};

/// Connections at once over one port; more wait in the backlog.
const CONNECTIONS: usize = 128;
const BUFFER: usize = 16 << 10;

/// Takes the port on the host, or fails where someone has it.
pub(crate) fn publish(port: u16) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves a published port until the task is aborted.
pub(crate) async fn serve(listener: std::net::TcpListener, port: u16, init: Rc<Init>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((outside, _)) => {
                let init = Rc::clone(&init);
                spawn_local(async move {
                    let _permit = permit;
                    // An end of either side ends the connection; there is nobody to tell.
                    let _ = join(outside, port, &init).await;
                });
            }
            // Out of descriptors, most likely: those who are connected will give some back.
            Err(error) => {
                tracing::warn!(%error, port, "a connection to a published port was not taken");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn join(mut outside: TcpStream, port: u16, init: &Init) -> io::Result<()> {
    let Some(socket) = init.dial(port).await else { return Ok(()) };
    let mut inside = inside(socket)?;
    outside.set_nodelay(true)?;
    // What was carried out of the bottle is no socket of TCP, and waits for nothing.
    let _ = inside.set_nodelay(true);
    copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER, BUFFER).await?;
    Ok(())
}

fn inside(socket: OwnedFd) -> io::Result<TcpStream> {
    let socket = std::net::TcpStream::from(socket);
    socket.set_nonblocking(true)?;
    TcpStream::from_std(socket)
}
