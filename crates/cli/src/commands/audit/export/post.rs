//! One OTLP request to a collector, over plain HTTP/1.1: it stands on this machine or behind a proxy of the user's.

use crate::error::CliError;
use serde_json::Value;
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 4;
const STATUS_MAX: u64 = 1024;

/// Where the collector listens.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// `host:port`.
    authority: String,
    path: String,
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Endpoint, CliError> {
        let wrong = || {
            CliError::usage(format!("{} is not the URL of a collector", super::super::escaped(url)))
                .next("give it as http://HOST:PORT/v1/logs; for TLS, let a collector on this machine pass it on")
        };
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !plain(authority) || !plain(path) || authority.contains('@') {
            return Err(wrong());
        }
        let is_with_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if is_with_port { authority.to_owned() } else { format!("{authority}:4318") };
        Ok(Endpoint { authority, path: if path.is_empty() { "/v1/logs".to_owned() } else { path.to_owned() } })
    }

    /// Sends it, again where the collector is not there or asks to wait (429, 503 and the like).
    pub(super) fn post(&self, request: &Value) -> Result<(), CliError> {
        let body = request.to_string();
        let mut pause = Duration::from_millis(250);
        for left in (0..TRIES).rev() {
            let said = match self.attempt(body.as_bytes()) {
                Ok(200..=299) => return Ok(()),
                Ok(status @ (429 | 502..=504)) => format!("it answered {status}"),
                Ok(status) => return Err(self.refused(format!("it answered {status}"))),
                Err(error) => error.to_string(),
            };
            if left == 0 {
                return Err(self.refused(said));
            }
            thread::sleep(pause);
            pause *= 2;
        }
        Ok(())
    }

    fn refused(&self, why: String) -> CliError {
        CliError::host(format!("the collector at {} takes no logs", super::super::escaped(&self.authority)))
            .because(why)
    }

    fn attempt(&self, body: &[u8]) -> io::Result<u16> {
        let address = self.authority.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.path,
            self.authority,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut line = String::new();
        BufReader::new(stream.take(STATUS_MAX)).read_line(&mut line)?;
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.trim().parse().ok());
        status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_collectors_are_read_and_others_refused() {
        for (url, authority, path) in [
            ("http://127.0.0.1:4318/v1/logs", "127.0.0.1:4318", "/v1/logs"),
            ("http://collector", "collector:4318", "/v1/logs"),
            ("http://[::1]:1/x", "[::1]:1", "/x"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.authority.as_str(), endpoint.path.as_str()), (authority, path));
        }
        for url in ["https://c:1/", "http:///x", "http://a b/", "http://u@c/", "c:4318", "http://c/\r\nx: y"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
