//! The bottle's certificate authority and the leaf certificates that the egress door shows to the bottle.
//!
//! Invariant: every host has a key of its own, made here and never written down; the authority signs leaves for DNS
//! names only (its name constraints exclude every address) and no further authority (path length 0). What may be
//! intercepted is not decided here.

use crate::{limits::MAX_LEAVES, tls};
use bottle_spec::{gate_link::Authority, host::HostName, secret::Secret, slug::Slug};
use lru::LruCache;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, ProducesTickets},
};
use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// An authority lives as long as one run of its bottle; this ends one whose bottle was forgotten.
const AUTHORITY_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far behind the clock of a machine may be whose host has slept: as long as its authority lives.
const LEAF_PAST: Duration = AUTHORITY_LIFE;
const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A cached leaf is made anew long before it expires.
const LEAF_REUSE: Duration = DAY;
/// RFC 5280, appendix A: `ub-common-name-length`.
const COMMON_NAME_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("could not make a certificate key")]
    Key(#[source] rcgen::Error),
    #[error("could not sign a certificate")]
    Sign(#[source] rcgen::Error),
    #[error("the bottle's authority key is not usable")]
    AuthorityKey(#[source] rcgen::Error),
    #[error("`{0}` cannot stand in a certificate")]
    Name(HostName, #[source] rcgen::Error),
    #[error("could not set up TLS for a leaf certificate")]
    Tls(#[source] rustls::Error),
}

/// Makes a bottle's authority: one P-256 key and one self-signed certificate, some 0.1 ms.
pub fn generate(bottle: &Slug) -> Result<Authority, CaError> {
    let name = format!("bot-bottle {bottle}");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
    let certificate = authority_params(&name).self_signed(&key).map_err(CaError::Sign)?;
    Ok(Authority { name, certificate_pem: certificate.pem(), key_pem: Secret::new(key.serialize_pem()) })
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let every_address = [CidrSubnet::from_v4_prefix([0; 4], 0), CidrSubnet::from_v6_prefix([0; 16], 0)];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: Vec::new(),
        excluded_subtrees: every_address.map(GeneralSubtree::IpAddress).to_vec(),
    });
    set_validity(&mut params, DAY, AUTHORITY_LIFE);
    params
}

/// Signs leaves, and keeps the newest of them ready for use.
pub struct Issuer {
    authority: rcgen::Issuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
    leaves: Mutex<LruCache<HostName, Leaf>>,
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    /// By the clock that its certificate goes by, which goes on while the host sleeps.
    made: SystemTime,
}

impl Leaf {
    /// A clock that was set back makes it stale.
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.made).is_ok_and(|age| age < LEAF_REUSE)
    }
}

impl Issuer {
    pub fn new(authority: &Authority) -> Result<Issuer, CaError> {
        let key = KeyPair::from_pem(authority.key_pem.expose()).map_err(CaError::AuthorityKey)?;
        let capacity = NonZeroUsize::new(MAX_LEAVES).unwrap_or(NonZeroUsize::MIN);
        Ok(Issuer {
            authority: rcgen::Issuer::new(authority_params(&authority.name), key),
            provider: tls::provider(),
            leaves: Mutex::new(LruCache::new(capacity)),
        })
    }

    /// The TLS server side for one host: its leaf, HTTP/2 and HTTP/1.1, and session tickets that open this host's
    /// sessions alone. TLS 1.2 and 1.3, no early data (it can be replayed).
    pub fn server_config(&self, host: &HostName) -> Result<Arc<ServerConfig>, CaError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(host).filter(|leaf| leaf.is_fresh(SystemTime::now())) {
            return Ok(Arc::clone(&leaf.config));
        }
        let config = Arc::new(self.issue(host)?);
        leaves.put(host.clone(), Leaf { config: Arc::clone(&config), made: SystemTime::now() });
        Ok(config)
    }

    fn issue(&self, host: &HostName) -> Result<ServerConfig, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
        let certificate = leaf_params(host)?.signed_by(&key, &self.authority).map_err(CaError::Sign)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(CaError::Tls)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(CaError::Tls)?;
        // Both have the same suites; ours come in the order of what they cost.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets()?;
        // Each resumption brings a fresh one; a second ticket per handshake is work that few clients use.
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, CaError> {
    ring::Ticketer::new().map_err(CaError::Tls)
}

fn leaf_params(host: &HostName) -> Result<CertificateParams, CaError> {
    let name = host.as_str();
    let san = name.try_into().map_err(|err| CaError::Name(host.clone(), err))?;
    let mut params = CertificateParams::default();
    // Clients read the SAN; the common name is for people, and too short for some hosts.
    params.distinguished_name = common_name(if name.len() <= COMMON_NAME_MAX { name } else { "bot-bottle leaf" });
    params.subject_alt_names = vec![SanType::DnsName(san)];
    // Besides CA:FALSE this writes the subject key identifier, which strict verifiers ask for.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, LEAF_PAST, LEAF_LIFE);
    Ok(params)
}

/// From some time ago, for clocks that run behind.
fn set_validity(params: &mut CertificateParams, past: Duration, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - past).into();
    params.not_after = (now + life).into();
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that sleeps lets no time pass by its monotonic clock.
    #[test]
    fn a_leaf_ages_by_the_clock_that_its_certificate_goes_by() {
        let issuer = Issuer::new(&generate(&Slug::new("a", [0; 5])).unwrap()).unwrap();
        let host = HostName::parse("up.test").unwrap();
        let first = issuer.server_config(&host).unwrap();
        assert!(Arc::ptr_eq(&first, &issuer.server_config(&host).unwrap()));
        let slept = |by: Duration| {
            let mut leaves = issuer.leaves.lock().unwrap();
            leaves.get_mut(&host).unwrap().made -= by;
        };
        slept(LEAF_REUSE);
        let second = issuer.server_config(&host).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        // And where the clock was set back.
        issuer.leaves.lock().unwrap().get_mut(&host).unwrap().made += LEAF_LIFE;
        assert!(!Arc::ptr_eq(&second, &issuer.server_config(&host).unwrap()));
    }

    #[test]
    fn a_machine_whose_clock_stood_still_takes_a_new_leaf() {
        let leaf = leaf_params(&HostName::parse("up.test").unwrap()).unwrap();
        let at =
            |time: SystemTime| rcgen::date_time_ymd(1970, 1, 1) + time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let started = at(SystemTime::now() - (AUTHORITY_LIFE - DAY));
        assert!(leaf.not_before < started && leaf.not_after > at(SystemTime::now()));
    }
}
