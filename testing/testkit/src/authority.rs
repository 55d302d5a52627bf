//! A certificate authority of a test: signs what upstreams show, good and bad.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// The authority's certificate and key. Two values never share a key.
#[derive(Debug)]
pub struct TestAuthority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What an upstream shows in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Valid for the upstream's hosts.
    Valid,
    /// Ended in 2001.
    Expired,
    /// Valid, for `wrong-host.test` alone.
    WrongHost,
    /// For the right hosts, signed by itself.
    SelfSigned,
}

/// A certificate and its key, ready for a rustls server.
#[derive(Debug)]
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Default for TestAuthority {
    fn default() -> Self {
        TestAuthority::new()
    }
}

impl TestAuthority {
    pub fn new() -> TestAuthority {
        let key = KeyPair::generate().expect("a P-256 key");
        let mut params = CertificateParams::default();
        params.distinguished_name = name("bot-bottle test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a self-signed authority");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        TestAuthority { pem, der, issuer: Issuer::new(params, key) }
    }

    /// What a client has to trust, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What a rustls client has to trust.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("the authority's certificate is well formed");
        roots
    }

    /// A leaf for `hosts` (names or addresses), or one with the fault asked for.
    pub fn leaf(&self, hosts: &[&str], shown: Shown) -> Leaf {
        let hosts = if shown == Shown::WrongHost { &["wrong-host.test"] } else { hosts };
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("hosts are names or addresses");
        params.distinguished_name = name(hosts.first().unwrap_or(&"upstream"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        if shown == Shown::Expired {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = match shown {
            Shown::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        }
        .expect("a signed leaf");
        Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
