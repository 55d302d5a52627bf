//! An egress door in a thread of its own, and the clients that speak to it.

use bottle_gate::{
    audit::Audit,
    ca::{self, Issuer},
    egress::{Egress, Parts, Questions},
    limits,
    synthetic::Names,
    vault::Vault,
};
use bottle_spec::{
    event::{AuditEvent, AuditRecord, Decision, EgressEvent, Head},
    gate_link::{GateToKeeper, HeldCanary, HeldSecret},
    policy::EgressPolicy,
    secret::Secret,
    slug::Slug,
};
use bottle_testkit::{TlsUpstream, wait_until};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring, pki_types::ServerName};
use serde_json::{Value, json};
use std::{
    fs::OpenOptions,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc};

pub(super) const PLACEHOLDER: &str = "placeholder-of-the-bottle";
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// What a door is to be made of.
pub(super) struct Setup {
    pub(super) policy: Value,
    secrets: Vec<HeldSecret>,
    canaries: Vec<HeldCanary>,
    roots: RootCertStore,
    dns: Option<SocketAddr>,
    transparent: Ipv4Addr,
    audit_full: bool,
    supervised: bool,
}

/// A policy of these routes, where every name is `upstream`.
pub(super) fn setup(upstream: &TlsUpstream, routes: Value) -> Setup {
    let mut setup = bare(routes).roots(upstream.authority().roots());
    for host in ["api.test", "other.test", "cdn.test"] {
        setup.policy["resolve"][host] = json!(upstream.address().to_string());
    }
    setup
}

/// A policy of these routes, and no upstream.
pub(super) fn bare(routes: Value) -> Setup {
    let mut routes = routes;
    for route in routes.as_array_mut().unwrap() {
        route.as_object_mut().unwrap().entry("ports").or_insert(json!([443, 80]));
    }
    let policy = json!({ "routes": routes, "resolve": {} });
    let roots = RootCertStore::empty();
    Setup {
        policy,
        secrets: Vec::new(),
        canaries: Vec::new(),
        roots,
        dns: None,
        transparent: Ipv4Addr::LOCALHOST,
        audit_full: false,
        supervised: false,
    }
}

impl Setup {
    pub(super) fn roots(mut self, roots: RootCertStore) -> Setup {
        self.roots = roots;
        self
    }

    pub(super) fn secret(mut self, source: &str, value: &str) -> Setup {
        let value = Secret::new(value.to_owned());
        let placeholder = PLACEHOLDER.to_owned();
        self.secrets.push(HeldSecret { source: source.parse().unwrap(), value, placeholder, until: None });
        self
    }

    pub(super) fn canary(mut self, name: &str, value: &str) -> Setup {
        self.canaries.push(HeldCanary { name: name.to_owned(), value: Secret::new(value.to_owned()) });
        self
    }

    pub(super) fn dns(mut self, server: SocketAddr) -> Setup {
        self.dns = Some(server);
        self
    }

    /// Binds the transparent door to every address.
    pub(super) fn transparent_everywhere(mut self) -> Setup {
        self.transparent = Ipv4Addr::UNSPECIFIED;
        self
    }

    /// Gives the door an audit log that takes no line.
    pub(super) fn audit_full(mut self) -> Setup {
        self.audit_full = true;
        self
    }

    pub(super) fn supervised(mut self) -> Setup {
        self.supervised = true;
        self
    }

    pub(super) fn set(mut self, key: &str, value: Value) -> Setup {
        self.policy[key] = value;
        self
    }

    pub(super) fn start(self) -> Gate {
        let dir = tempfile::tempdir().unwrap();
        let slug: Slug = "tester-abcde".parse().unwrap();
        let authority = ca::generate(&slug).unwrap();
        std::fs::write(dir.path().join("ca.pem"), &authority.certificate_pem).unwrap();
        let log = OpenOptions::new().create_new(true).read(true).write(true).open(dir.path().join("audit")).unwrap();
        let full = memfd_create("audit", MemfdFlags::ALLOW_SEALING).unwrap();
        let log = if self.audit_full { full.try_clone().unwrap().into() } else { log };
        let policy: EgressPolicy = serde_json::from_value(self.policy).unwrap();
        let (keeper, questions) = mpsc::unbounded_channel();
        let operator = Questions::new("tester-abcde", keeper.clone(), limits::ASK_TIME);
        let vault = Vault::new(self.secrets, keeper);
        let names = Names::new(&policy);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (egress, proxy, transparent) = runtime.block_on(async {
            let parts = Parts {
                policy,
                issuer: Issuer::new(&authority).unwrap(),
                vault: vault.clone(),
                audit: Audit::resume(log, &slug, crate::keeper::signer(&slug), &Head::of_nothing(slug.as_str()))
                    .unwrap(),
                names: names.clone(),
                resolver: resolver(self.dns),
                upstream_roots: self.roots.clone(),
                canaries: self.canaries,
                frozen: false,
                supervised: self.supervised,
                questions: operator.clone(),
            };
            fcntl_add_seals(&full, SealFlags::WRITE).unwrap();
            let egress = Egress::new(parts).unwrap();
            let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let transparent = TcpListener::bind((self.transparent, 0)).await.unwrap();
            // As the keeper's: with 128 a burst of connections waits for its lost first packets.
            rustix::net::listen(&proxy, 4096).unwrap();
            let addresses = (proxy.local_addr().unwrap(), transparent.local_addr().unwrap());
            let (first, second) = (Arc::clone(&egress), Arc::clone(&egress));
            tokio::spawn(Arc::clone(&egress).pulse());
            tokio::spawn(async move { first.serve_proxy(proxy).await });
            tokio::spawn(async move { second.serve_transparent(transparent, 443).await });
            (egress, addresses.0, addresses.1)
        });
        let (pace, mut paces) = mpsc::unbounded_channel();
        let pacing = async move {
            while let Some(pace) = paces.recv().await {
                match pace {
                    Pace::Hurry => tokio::time::pause(),
                    Pace::Real => tokio::time::resume(),
                }
            }
        };
        let thread = thread::Builder::new().name("gate".to_owned()).spawn(move || runtime.block_on(pacing)).unwrap();
        let questions = Mutex::new(questions);
        let roots = self.roots;
        Gate {
            egress,
            proxy,
            transparent,
            names,
            vault,
            questions,
            operator,
            roots,
            dir,
            pace: Some(pace),
            thread: Some(thread),
        }
    }
}

/// Nothing answers on port 9: a name that is looked up all the same fails at once.
fn resolver(server: Option<SocketAddr>) -> TokioResolver {
    let server = server.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9)));
    let mut config = NameServerConfig::udp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap()
}

/// How the gate's clock runs.
enum Pace {
    /// Whenever the gate has nothing to do, to the next thing it waits for.
    Hurry,
    Real,
}

/// A running door. Ends when dropped.
pub(super) struct Gate {
    pub(super) egress: Arc<Egress>,
    pub(super) proxy: SocketAddr,
    pub(super) transparent: SocketAddr,
    pub(super) names: Names,
    pub(super) vault: Vault,
    pub(super) questions: Mutex<mpsc::UnboundedReceiver<GateToKeeper>>,
    pub(super) operator: Questions,
    roots: RootCertStore,
    dir: tempfile::TempDir,
    /// Dropped, it ends the gate.
    pace: Option<mpsc::UnboundedSender<Pace>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.pace.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What curl saw.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) version: String,
    pub(super) head: String,
    pub(super) body: String,
    /// For whoever reads why a test failed.
    #[expect(dead_code, reason = "shown by Debug")]
    pub(super) stderr: String,
    pub(super) exit: Option<i32>,
    pub(super) connect: u16,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The reason's code, as header and JSON agree on it.
    pub(super) fn reason(&self) -> String {
        let json = self.json();
        let code = json["error"].as_str().unwrap_or_default().to_owned();
        assert!(self.head.contains(&format!("x-bot-bottle-reason: {code}\r\n")), "{self:?}");
        assert!(json["next_step"].as_str().is_some_and(|step| !step.is_empty()), "{self:?}");
        code
    }
}

pub(super) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Gate {
    /// Runs with a clock on which every limit of time is over at once.
    pub(super) fn hurried<T>(&self, run: impl FnOnce() -> T) -> T {
        let pace = self.pace.as_ref().unwrap();
        pace.send(Pace::Hurry).unwrap_or_else(|_| panic!("the gate runs"));
        let done = run();
        pace.send(Pace::Real).unwrap_or_else(|_| panic!("the gate runs"));
        done
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// curl through the proxy, trusting the bottle's authority.
    pub(super) fn curl(&self, args: &[&str]) -> Answer {
        let proxy = format!("http://{}", self.proxy);
        self.curl_bare(&[&["--proxy", &proxy], args].concat())
    }

    pub(super) fn curl_bare(&self, args: &[&str]) -> Answer {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--include", "--suppress-connect-headers", "--max-time", "90"])
            .args(["--write-out", "\n%{http_code} %{http_version} %{http_connect}", "--noproxy", ""])
            .arg("--cacert")
            .arg(self.path("ca.pem"))
            .args(args)
            .env_clear()
            .output()
            .expect("curl is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, last) = text.rsplit_once('\n').unwrap_or_default();
        let mut last = last.split(' ');
        let status = last.next().unwrap_or_default().parse().unwrap_or(0);
        let version = last.next().unwrap_or_default().to_owned();
        let connect = last.next().unwrap_or_default().parse().unwrap_or(0);
        let mut rest = text;
        let mut head = "";
        // Interim responses come first.
        while let Some((first, after)) = rest.split_once("\r\n\r\n").filter(|(first, _)| first.starts_with("HTTP/")) {
            (head, rest) = (first, after);
        }
        let (head, body) = (format!("{head}\r\n").to_lowercase(), rest.to_owned());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Answer { status, version, head, body, stderr, exit: output.status.code(), connect }
    }

    /// Sends bytes to the proxy and reads until it closes.
    pub(super) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.stream();
        stream.write_all(bytes).unwrap();
        until_closed(&mut stream)
    }

    pub(super) fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// CONNECT, then TLS with this server name; HTTP/1.1.
    pub(super) fn tunnel(&self, authority: &str, name: &str) -> Result<Tls, std::io::Error> {
        self.tls(self.connect(authority), name)
    }

    /// A WebSocket to api.test, its handshake done.
    pub(super) fn websocket(&self) -> Tls {
        let mut tls = self.tunnel("api.test:443", "api.test").unwrap();
        tls.write_all(
            b"GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
        let head = head(&mut tls);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        tls
    }

    /// A tunnel with nothing in it yet.
    pub(super) fn connect(&self, authority: &str) -> TcpStream {
        let mut stream = self.stream();
        let ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        let head = head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream
    }

    /// TLS as a client inside does it.
    pub(super) fn tls(&self, stream: TcpStream, name: &str) -> Result<Tls, std::io::Error> {
        self.tls_with(stream, name, &[])
    }

    /// The same, asking for these protocols.
    pub(super) fn tls_with(&self, stream: TcpStream, name: &str, alpn: &[&[u8]]) -> Result<Tls, std::io::Error> {
        let mut roots = self.roots.clone();
        let pem = std::fs::read(self.path("ca.pem")).unwrap();
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(tls)
    }

    /// Sends bytes within an intercepted tunnel to `api.test` and reads until it closes.
    pub(super) fn inside(&self, bytes: &[u8]) -> String {
        let mut tls = self.tunnel("api.test:443", "api.test").unwrap();
        tls.write_all(bytes).unwrap();
        until_closed(&mut tls)
    }

    pub(super) fn events(&self) -> Vec<EgressEvent> {
        let log = std::fs::read_to_string(self.path("audit")).unwrap();
        let records = log.lines().map(|line| serde_json::from_str::<AuditRecord>(line).unwrap());
        records
            .filter_map(|record| match record.event {
                AuditEvent::Egress(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    /// The codes of the denials so far.
    pub(super) fn denials(&self) -> Vec<&'static str> {
        let denials = self.events().into_iter().filter(|event| event.decision == Decision::Deny);
        denials.filter_map(|event| event.reason).map(|reason| reason.code()).collect()
    }

    /// Waits for the first denial, which must be this one, and alone.
    #[track_caller]
    pub(super) fn denied(&self, code: &str) {
        wait_until(&format!("a denial {code}"), LIMIT, || !self.denials().is_empty());
        assert_eq!(self.denials(), [code]);
    }
}

/// All until the peer closes, or has been silent for too long.
pub(super) fn until_closed(stream: &mut impl Read) -> String {
    let mut all = Vec::new();
    // A reset or a missing close_notify is an end, too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// The head of a response.
pub(super) fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
