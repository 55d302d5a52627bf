//! Leaves as real verifiers see them: rustls over a handshake, and the openssl command in its strict mode.

use base64::Engine;
use bottle_gate::ca::{self, Issuer};
use bottle_spec::{gate_link::Authority, host::HostName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::Arc};

fn authority() -> Authority {
    ca::generate(&"tester-abcde".parse().unwrap()).unwrap()
}

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn client(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A handshake in memory, and one message from each side so that tickets arrive.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..8 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn leaf(issuer: &Issuer, authority: &Authority, name: &str) -> CertificateDer<'static> {
    let server = issuer.server_config(&host(name)).unwrap();
    let (client, _) = handshake(&client(authority), &server, name).unwrap();
    client.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn a_leaf_is_for_its_host_and_its_bottle_alone() {
    let (ours, others) = (authority(), authority());
    let issuer = Issuer::new(&ours).unwrap();
    let server = issuer.server_config(&host("api.example.com")).unwrap();
    let (connected, _) = handshake(&client(&ours), &server, "api.example.com").unwrap();
    assert_eq!(connected.alpn_protocol(), Some(&b"h2"[..]));
    for (trusting, name) in [(&ours, "evil.example.com"), (&others, "api.example.com"), (&ours, "127.0.0.1")] {
        assert!(handshake(&client(trusting), &server, name).is_err(), "{name} was accepted");
    }
    // The key of one authority under the name of another signs nothing that the other's bottle believes.
    let mixed = Authority { key_pem: others.key_pem.clone(), ..ours.clone() };
    let server = Issuer::new(&mixed).unwrap().server_config(&host("api.example.com")).unwrap();
    assert!(handshake(&client(&ours), &server, "api.example.com").is_err());
}

#[test]
fn sessions_resume_with_the_same_host_and_no_other() {
    let authority = authority();
    let issuer = Issuer::new(&authority).unwrap();
    let client = client(&authority);
    let server = issuer.server_config(&host("api.example.com")).unwrap();
    assert!(Arc::ptr_eq(&server, &issuer.server_config(&host("api.example.com")).unwrap()), "the leaf is not kept");
    let kind = |(client, _): (ClientConnection, ServerConnection)| client.handshake_kind().unwrap();
    let first = kind(handshake(&client, &server, "api.example.com").unwrap());
    assert!(matches!(first, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest), "{first:?}");
    assert_eq!(kind(handshake(&client, &server, "api.example.com").unwrap()), HandshakeKind::Resumed);

    // A server that knows nothing of that ticket: another host's leaf, here shown to a client of the first.
    let other = Issuer::new(&authority).unwrap().server_config(&host("api.example.com")).unwrap();
    assert_ne!(kind(handshake(&client, &other, "api.example.com").unwrap()), HandshakeKind::Resumed);
}

#[test]
fn every_host_has_a_key_of_its_own() {
    let authority = authority();
    let issuer = Issuer::new(&authority).unwrap();
    let key = |certificate: &CertificateDer<'_>| {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate).unwrap();
        parsed.subject_public_key_info().to_vec()
    };
    let own = CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes()).unwrap();
    let names = ["a.example", "b.example", "c.d.example"];
    let mut keys: BTreeSet<Vec<u8>> = names.iter().map(|name| key(&leaf(&issuer, &authority, name))).collect();
    keys.insert(key(&own));
    assert_eq!(keys.len(), names.len() + 1);
}

#[test]
fn openssl_takes_the_chain_in_strict_mode() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED(no openssl command)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = authority();
    let issuer = Issuer::new(&authority).unwrap();
    fs::write(dir.path().join("ca.pem"), &authority.certificate_pem).unwrap();
    // A host as long as names get, so that its subject cannot hold it, and one with an underscore.
    let long = format!("{}.{}.{}.example", "a".repeat(63), "b".repeat(63), "c".repeat(63));
    for name in ["api.example.com", "a_b.example", "xn--bcher-kva.example", &long] {
        let der = base64::engine::general_purpose::STANDARD.encode(leaf(&issuer, &authority, name));
        let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        // openssl reads lines of up to 76 characters only in older releases; 64 is what PEM says.
        fs::write(dir.path().join("leaf.pem"), wrap(&pem)).unwrap();
        let strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem"];
        let verified = openssl(dir.path(), &[&strict[..], &["-verify_hostname", name, "leaf.pem"]].concat());
        assert!(verified.contains("leaf.pem: OK"), "{name}: {verified}");
        let other = openssl(dir.path(), &[&strict[..], &["-verify_hostname", "evil.example", "leaf.pem"]].concat());
        assert!(!other.contains("leaf.pem: OK"), "a leaf for {name} passed as evil.example");
    }
    let text = openssl(dir.path(), &["x509", "-in", "ca.pem", "-noout", "-text"]);
    for part in [
        "CA:TRUE, pathlen:0",
        "Name Constraints: critical",
        "IP:0.0.0.0/0.0.0.0",
        "Certificate Sign",
        "bot-bottle tester-abcde",
    ] {
        assert!(text.contains(part), "the authority lacks `{part}`:\n{text}");
    }
    let text = openssl(dir.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]);
    for part in ["CA:FALSE", "TLS Web Server Authentication", "Authority Key Identifier", "Subject Key Identifier"] {
        assert!(text.contains(part), "the leaf lacks `{part}`:\n{text}");
    }
}

fn wrap(pem: &str) -> String {
    pem.lines()
        .flat_map(|line| line.as_bytes().chunks(64).map(|chunk| String::from_utf8_lossy(chunk).into_owned() + "\n"))
        .collect()
}

fn openssl(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(dir).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
