//! The load: `xtask load FILE`, run on the host or in a bottle, so that every contender meets the same client.
//!
//! Blocking threads, one connection each, certificates verified. Bounded by the number of requests asked for.

use anyhow::{Context, Result, anyhow, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// What to send, and which way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Through a proxy by CONNECT; `None` = straight to `address`.
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    /// PEM; what the client trusts.
    pub(crate) ca: PathBuf,
    pub(crate) concurrency: usize,
    /// Of each thread.
    pub(crate) requests: usize,
    /// A new connection and handshake for each request.
    pub(crate) fresh: bool,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
    pub(crate) bytes: u64,
}

/// The subcommand: reads a [`Load`], prints a [`Measured`].
pub(crate) fn run(file: &Path) -> Result<()> {
    let load: Load = serde_json::from_slice(&std::fs::read(file)?)?;
    println!("{}", serde_json::to_string(&load.drive()?)?);
    Ok(())
}

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

impl Load {
    pub(crate) fn drive(&self) -> Result<Measured> {
        let config = Arc::new(self.config()?);
        let begun = Instant::now();
        let threads: Vec<_> = (0..self.concurrency)
            .map(|_| {
                let (load, config) = (self.clone(), config.clone());
                std::thread::spawn(move || load.thread(&config))
            })
            .collect();
        let (mut latencies, mut bytes) = (Vec::new(), 0);
        for thread in threads {
            let (own, read) = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            latencies.extend(own);
            bytes += read;
        }
        Ok(Measured { latencies, took: begun.elapsed(), bytes })
    }

    fn config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca).context("the client's authorities")? {
            roots.add(certificate?)?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A new tunnel is to cost what it costs the first time.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    fn thread(&self, config: &Arc<ClientConfig>) -> Result<(Vec<Duration>, u64)> {
        let mut latencies = Vec::with_capacity(self.requests);
        let mut bytes = 0;
        let mut buffer = vec![0; 64 * 1024];
        let mut kept = if self.fresh { None } else { Some(self.connect(config)?) };
        for _ in 0..self.requests {
            let begun = Instant::now();
            match &mut kept {
                Some(stream) => bytes += self.ask(stream, &mut buffer)?,
                None => bytes += self.ask(&mut self.connect(config)?, &mut buffer)?,
            }
            latencies.push(begun.elapsed());
        }
        Ok((latencies, bytes))
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Result<Stream> {
        let mut socket = TcpStream::connect(self.proxy.unwrap_or(self.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        if self.proxy.is_some() {
            // In one write, as clients do.
            let ask = format!("CONNECT {0}:{1} HTTP/1.1\r\nHost: {0}:{1}\r\n\r\n", self.host, self.port);
            socket.write_all(ask.as_bytes())?;
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                socket.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            ensure!(
                head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.0 200"),
                "no tunnel: {}",
                String::from_utf8_lossy(&head)
            );
        }
        let name = ServerName::try_from(self.host.clone())?;
        Ok(BufReader::new(StreamOwned::new(ClientConnection::new(config.clone(), name)?, socket)))
    }

    /// One request and its whole answer; how long the body was.
    fn ask(&self, stream: &mut Stream, buffer: &mut [u8]) -> Result<u64> {
        let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.host);
        stream.get_mut().write_all(head.as_bytes())?;
        match read_head(stream)? {
            Length::Said(length) => skip(stream, buffer, length),
            Length::Chunked => skip_chunks(stream, buffer),
        }
    }
}

enum Length {
    Said(u64),
    Chunked,
}

fn read_head(stream: &mut Stream) -> Result<Length> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.contains(" 200"), "the answer is {}", line.trim());
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        match line.trim().split_once(':') {
            None => return length.context("an answer without its length"),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(Length::Said(value.trim().parse()?));
            }
            Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => length = Some(Length::Chunked),
            Some(_) => {}
        }
    }
}

fn skip(stream: &mut Stream, buffer: &mut [u8], length: u64) -> Result<u64> {
    let mut left = length;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = stream.read(&mut buffer[..most])?;
        ensure!(read > 0, "the answer broke off");
        left -= read as u64;
    }
    Ok(length)
}

fn skip_chunks(stream: &mut Stream, buffer: &mut [u8]) -> Result<u64> {
    let mut all = 0;
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).with_context(|| format!("no chunk: {line:?}"))?;
        // The line break after the chunk, or after the last one.
        all += skip(stream, buffer, size + 2)? - 2;
        if size == 0 {
            return Ok(all);
        }
    }
}
