//! What the gate reads from the host, all of it before it confines itself: trust anchors and resolver settings.
//!
//! Invariant: only files that the system or the operator's manifest names are read, never one that a bottle wrote.
//! A change of these files on the host counts from the gate's next start.

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::read_system_conf,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Answers kept. A bottle asks for few names, and only for allowed ones.
const LOOKUPS_KEPT: u64 = 256;

#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    #[error("could not read the trusted certificates in `{}`", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("`{}` holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("a certificate in `{}` cannot be used as an authority", path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("could not set up name resolution from the host's settings")]
    Resolver(#[source] NetError),
}

/// Where distributions keep all authorities in one file: Debian and Arch, Fedora, openSUSE, Alpine. One of these alone
/// is read where there is one: beside it stands a directory of the same authorities in hundreds of files.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's authorities. Those that cannot be used are left out, as every TLS client does.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = match BUNDLES.map(Path::new).into_iter().find(|path| path.is_file()) {
        Some(bundle) => rustls_native_certs::load_certs_from_paths(Some(bundle), None),
        None => rustls_native_certs::load_native_certs(),
    };
    for err in &system.errors {
        tracing::warn!(%err, "system certificates");
    }
    roots.add_parsable_certificates(system.certs);
    roots
}

/// With those of the policy's `upstream_ca`, which must all be usable.
pub(crate) fn upstream_roots(
    mut roots: RootCertStore,
    upstream_ca: &[PathBuf],
) -> Result<RootCertStore, HostFileError> {
    for path in upstream_ca {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        tracing::warn!("this host has no trusted certificates: no upstream over TLS can be verified");
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), HostFileError> {
    let failed = |source| HostFileError::Pem { path: path.to_owned(), source };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        let added = roots.add(certificate.map_err(failed)?);
        added.map_err(|source| HostFileError::Certificate { path: path.to_owned(), source })?;
    }
    if roots.len() == before { Err(HostFileError::NoCertificate(path.to_owned())) } else { Ok(()) }
}

/// A resolver that asks the host's name servers and reads its hosts file, now. No search list: a policy speaks of whole
/// names, and only those are asked for.
pub(crate) fn resolver() -> Result<TokioResolver, HostFileError> {
    let (config, mut options) = read_system_conf().unwrap_or_else(|err| {
        // As resolv.conf(5): with no file, or none named in it, the server is this host.
        tracing::warn!(%err, "no name server in /etc/resolv.conf; asking 127.0.0.1");
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (ResolverConfig::from_parts(None, Vec::new(), vec![local]), Default::default())
    });
    let (_, _, servers) = config.into_parts();
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = LOOKUPS_KEPT;
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(HostFileError::Resolver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_policy_must_be_usable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(matches!(with_system(&path), Err(HostFileError::Pem { .. })));
        std::fs::write(&path, "no certificate\n").unwrap();
        assert!(matches!(with_system(&path), Err(HostFileError::NoCertificate(_))));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(with_system(&path), Err(HostFileError::Certificate { .. })));

        let authority = crate::ca::generate(&"tester-abcde".parse().unwrap()).unwrap();
        std::fs::write(&path, authority.certificate_pem).unwrap();
        assert_eq!(with_system(&path).unwrap().len(), system_roots().len() + 1);
    }

    fn with_system(path: &PathBuf) -> Result<RootCertStore, HostFileError> {
        upstream_roots(system_roots(), std::slice::from_ref(path))
    }
}
