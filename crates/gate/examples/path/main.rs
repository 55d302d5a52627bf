//! The egress door alone, for `cargo xtask bench`, which builds this optimised: with everything on, without scanning, and
//! beside both an intercepting proxy that does nothing else.
//!
//! `path everything|unscanned|bare UPSTREAM UPSTREAM_CA DIRECTORY` listens on loopback, says where on a line, and ends
//! with its input. Every name is UPSTREAM; what clients are to trust lies in DIRECTORY as `ca.pem`. It is not confined and
//! has no keeper: what a whole bottle costs the bench measures beside it.
#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a tool of the bench")]

mod bare;

use bottle_gate::{
    audit::{
        Audit,
        sign::{Signer, certify},
    },
    ca::{self, Issuer},
    egress::{Egress, Parts, Questions},
    synthetic::Names,
    vault::Vault,
};
use bottle_spec::{event::Head, gate_link::HeldSecret, policy::EgressPolicy, secret::Secret, slug::Slug};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;
use std::{
    fs::OpenOptions,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc};

/// The name of the upstream, which has a secret.
const HOST: &str = "bench.test";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [way, upstream, authority, directory] = words.as_slice() else {
        panic!("usage: path everything|unscanned|bare UPSTREAM UPSTREAM_CA DIRECTORY");
    };
    let bottle: Slug = "bench-abcde".parse().unwrap();
    let own = ca::generate(&bottle).unwrap();
    std::fs::write(Path::new(directory).join("ca.pem"), &own.certificate_pem).unwrap();
    let given = Given {
        upstream: upstream.parse().unwrap(),
        roots: roots(Path::new(authority)),
        issuer: Issuer::new(&own).unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let (ended, end) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
        if way == "bare" {
            tokio::spawn(bare::serve(listener, given));
        } else {
            let egress = door(&bottle, given, Path::new(directory), way == "everything");
            tokio::spawn(Arc::clone(&egress).pulse());
            tokio::spawn(async move { egress.serve_proxy(listener).await });
        }
        let _ = end.await;
    });
}

/// What every way has.
struct Given {
    upstream: SocketAddr,
    roots: RootCertStore,
    issuer: Issuer,
}

fn roots(file: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

fn door(bottle: &Slug, given: Given, directory: &Path, scanned: bool) -> Arc<Egress> {
    let Given { upstream, roots, issuer } = given;
    let inbound = if scanned { "warn" } else { "off" };
    let auth = json!({ "carrier": "bearer", "secret": "env:BENCH_TOKEN" });
    let route = json!({ "host": HOST, "ports": [443], "auth": auth, "inbound": inbound });
    let policy = json!({ "routes": [route], "resolve": { HOST: upstream.to_string() } });
    let policy: EgressPolicy = serde_json::from_value(policy).unwrap();
    let log = OpenOptions::new().create_new(true).read(true).write(true).open(directory.join("audit")).unwrap();
    let signer = Signer::new(&certify(&Secret::new("11".repeat(32)), bottle).unwrap()).unwrap();
    // Nobody answers what is asked of the keeper: nothing is.
    let (keeper, _) = mpsc::unbounded_channel();
    let secret = HeldSecret {
        source: "env:BENCH_TOKEN".parse().unwrap(),
        value: Secret::new("token-of-the-benchmark".to_owned()),
        placeholder: "placeholder-of-the-benchmark".to_owned(),
        until: None,
    };
    let parts = Parts {
        issuer,
        vault: Vault::new(vec![secret], keeper.clone()),
        audit: Audit::resume(log, bottle, signer, &Head::of_nothing(bottle.as_str())).unwrap(),
        names: Names::new(&policy),
        resolver: no_resolver(),
        upstream_roots: roots,
        canaries: Vec::new(),
        frozen: false,
        supervised: false,
        questions: Questions::new(bottle.as_str(), keeper, Duration::from_secs(60)),
        policy,
    };
    #[cfg(feature = "unscanned")]
    if !scanned {
        return Egress::unscanned(parts).unwrap();
    }
    assert!(scanned, "`--features unscanned` is what it takes to leave the scanning out");
    Egress::new(parts).unwrap()
}

/// Nothing answers there, and nothing is asked: every name is fixed.
fn no_resolver() -> TokioResolver {
    let server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap()
}
