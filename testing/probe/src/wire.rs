//! Speaking to a socket as an attacker does: bytes out, whatever comes back in, never for long.

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may keep silent before it counts as over.
const SILENCE: Duration = Duration::from_millis(700);
const MOST: u64 = 256 * 1024;

pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(CONNECT))?;
    Ok(stream)
}

/// Everything until the end, a silence or [`MOST`] bytes.
pub(crate) fn rest(stream: impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    // An error ends the answer; what came before it counts.
    let _ = stream.take(MOST).read_to_end(&mut answer);
    answer
}

pub(crate) fn ask(address: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(question)?;
    Ok(rest(stream))
}

/// Opens a tunnel: the stream, and the answer's head. `Err` with the head where it is not 200.
pub(crate) fn tunnel(proxy: SocketAddr, head: &str) -> Result<TcpStream, String> {
    let mut stream = connect(proxy).map_err(|error| error.to_string())?;
    stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < 16 * 1024 {
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ => break,
        }
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).unwrap_or("no answer").to_owned();
    if status == "200" { Ok(stream) } else { Err(status) }
}

/// TLS without any checks. An empty `name` sends no server name.
pub(crate) fn tls(stream: TcpStream, name: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    handshake(stream, name, &[])
}

/// The same, where the other side must take up HTTP/2.
pub(crate) fn tls_h2(stream: TcpStream, name: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = handshake(stream, name, &[b"h2"])?;
    match stream.conn.alpn_protocol() {
        Some(b"h2") => Ok(stream),
        _ => Err(io::Error::other("no HTTP/2 there")),
    }
}

fn handshake(
    stream: TcpStream,
    name: &str,
    protocols: &[&[u8]],
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnything(
            ring::default_provider().signature_verification_algorithms,
        )))
        .with_no_client_auth();
    config.enable_sni = !name.is_empty();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = if name.is_empty() { "nobody.invalid" } else { name };
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

#[derive(Debug)]
struct TrustAnything(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The question of a resolver: an `A` query (RFC 1035).
pub(crate) fn dns_query(name: &str) -> Vec<u8> {
    let mut query = vec![0x42, 0x42, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap_or(63));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// The first address in a resolver's answer: its last four bytes, where there is one answer of type `A`.
pub(crate) fn dns_address(answer: &[u8]) -> Option<std::net::Ipv4Addr> {
    let answers = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let end: [u8; 4] = answer.get(answer.len().checked_sub(4)?..)?.try_into().ok()?;
    (answers == 1).then(|| end.into())
}

/// What the bottle's resolver says of a name.
pub(crate) fn resolve(name: &str) -> Option<std::net::Ipv4Addr> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    socket.send_to(&dns_query(name), ("127.0.0.1", 53)).ok()?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).ok()?;
    dns_address(answer.get(..length)?)
}
