//! How an upstream is reached: the transport, and the credential where it takes one.
//!
//! Invariants: ssh reads no configuration, offers no key but the one named, and takes no host key but those known;
//! a credential of https is in a sealed piece of memory that git has open, never in an argument, an environment or a
//! file.

use crate::vault::{Held, Vault};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bottle_spec::{
    git::{GitRepository, Kind, Upstream},
    host::HostName,
    policy::{Auth, Carrier},
    secret::Secret,
};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

/// The number under which git and what it starts find the configuration that holds the credential.
const CREDENTIAL: i32 = 9;

/// What reaching one upstream takes.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) upstream: Upstream,
    identity_file: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    ssh_agent: Option<PathBuf>,
    /// Certificates to trust, PEM; `None` = the system's.
    certificates: Option<PathBuf>,
    /// What a repository of this machine is written with.
    pub(crate) umask: u32,
    /// Where the plan says that the upstream's host is, whatever its name resolves to.
    address: Option<SocketAddr>,
    auth: Option<Auth>,
    vault: Vault,
}

/// What all upstreams of a bottle have in common.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) ssh_agent: Option<PathBuf>,
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) resolve: BTreeMap<HostName, SocketAddr>,
    pub(crate) umask: u32,
}

impl Access {
    pub(crate) fn new(repository: &GitRepository, vault: &Vault, surroundings: &Surroundings) -> Access {
        let address = match repository.upstream.kind() {
            Kind::Https { host, .. } => {
                let name = HostName::parse(host.split(':').next().unwrap_or_default());
                name.ok().and_then(|name| surroundings.resolve.get(&name).copied())
            }
            _ => None,
        };
        Access {
            upstream: repository.upstream.clone(),
            identity_file: repository.identity_file.clone(),
            known_hosts: repository.known_hosts.clone(),
            ssh_agent: surroundings.ssh_agent.clone(),
            certificates: surroundings.certificates.clone(),
            umask: surroundings.umask,
            address,
            auth: repository.auth.clone(),
            vault: vault.clone(),
        }
    }

    /// What git is told to go to. Of an address that the plan names, the port is part.
    pub(crate) fn url(&self) -> String {
        match (self.upstream.kind(), self.address) {
            (Kind::Https { host, path }, Some(address)) => {
                let name = host.split(':').next().unwrap_or(host);
                format!("https://{name}:{}/{path}", address.port())
            }
            _ => self.upstream.as_str().to_owned(),
        }
    }

    /// Which reading of the secret is sent; for [`Access::renew`].
    pub(crate) fn generation(&self) -> u64 {
        self.held().map_or(0, |(held, _)| held.generation)
    }

    /// After an upstream refused the secret: whether there is another now.
    pub(crate) async fn renew(&self, generation: u64) -> bool {
        let read_anew = |auth: &&Auth| auth.secret.is_read_anew();
        let Some(auth) = self.auth.as_ref().filter(read_anew) else { return false };
        match self.vault.refresh(&auth.secret, generation).await {
            Ok(_) => true,
            Err(error) => {
                tracing::info!(%error, "a secret that the upstream refused was not renewed");
                false
            }
        }
    }

    fn held(&self) -> Option<(Held, &Carrier)> {
        let auth = self.auth.as_ref()?;
        Some((self.vault.value(&auth.secret)?, &auth.carrier))
    }

    /// Adds to a git command what its transport needs.
    pub(crate) fn equip(&self, command: &mut Command, config: &Path) -> io::Result<()> {
        match self.upstream.kind() {
            Kind::Path(_) => {
                command.env("GIT_ALLOW_PROTOCOL", "file");
            }
            Kind::Ssh { .. } => {
                command.env("GIT_ALLOW_PROTOCOL", "ssh").env("GIT_SSH_VARIANT", "ssh");
                command.env("GIT_SSH_COMMAND", self.ssh());
                if let Some(agent) = self.ssh_agent.as_ref().filter(|_| self.identity_file.is_none()) {
                    command.env("SSH_AUTH_SOCK", agent);
                }
            }
            Kind::Https { .. } => {
                command.env("GIT_ALLOW_PROTOCOL", "https");
                if let Some(certificates) = &self.certificates {
                    command.env("GIT_SSL_CAINFO", certificates);
                }
                if let Some(address) = self.address {
                    let url = self.url();
                    let name = url.trim_start_matches("https://").split('/').next().unwrap_or_default().to_owned();
                    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "http.curloptResolve");
                    // HOST:PORT:ADDRESS, as `curl --resolve` has it.
                    command.env("GIT_CONFIG_VALUE_0", format!("{name}:{}", bracketed(address)));
                }
                if let Some((held, carrier)) = self.held() {
                    let memory = self.credential(&header(carrier, &held.value), config)?;
                    command.env("GIT_CONFIG_GLOBAL", format!("/proc/self/fd/{CREDENTIAL}"));
                    let mapping = FdMapping { parent_fd: memory, child_fd: CREDENTIAL };
                    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
                }
            }
        }
        Ok(())
    }

    fn ssh(&self) -> String {
        let mut words = vec!["ssh".to_owned(), "-F".to_owned(), "/dev/null".to_owned()];
        let mut option = |text: String| words.extend(["-o".to_owned(), text]);
        for fixed in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "GlobalKnownHostsFile=/dev/null",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "ControlMaster=no",
            "ControlPath=none",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "KbdInteractiveAuthentication=no",
            "PasswordAuthentication=no",
        ] {
            option(fixed.to_owned());
        }
        if let Some(known) = &self.known_hosts {
            option(format!("UserKnownHostsFile=\"{}\"", known.display()));
        }
        if let Some(identity) = &self.identity_file {
            option("IdentitiesOnly=yes".to_owned());
            option("IdentityAgent=none".to_owned());
            option(format!("IdentityFile=\"{}\"", identity.display()));
        } else {
            option("IdentityFile=none".to_owned());
        }
        words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ")
    }

    /// Our configuration with the header that is sent to this one upstream.
    fn credential(&self, header: &Secret, config: &Path) -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = memfd_create(c"git-credential", flags)?;
        let mut file = File::from(memory);
        let plain = |c: char| matches!(c, '\n' | '\r' | '\0');
        if header.expose().contains(plain) {
            return Err(io::Error::other("the secret holds a line break"));
        }
        let value = header.expose().replace('\\', "\\\\").replace('"', "\\\"");
        writeln!(file, "[include]\n\tpath = \"{}\"", config.display())?;
        // Only for this URL, also where it redirects elsewhere.
        writeln!(file, "[http]\n\tfollowRedirects = false")?;
        writeln!(file, "[http \"{}\"]\n\textraHeader = \"{value}\"", self.url())?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(OwnedFd::from(file))
    }
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Whether git says that the upstream did not take the credential: with nobody to ask for another, it asks in vain.
pub(crate) fn is_refusal(said: &str) -> bool {
    ["could not read Username", "could not read Password", "Authentication failed"].iter().any(|it| said.contains(it))
}

/// The header that carries the secret. A token alone goes as the password of the user that forges take for tokens.
fn header(carrier: &Carrier, secret: &Secret) -> Secret {
    let value = secret.expose();
    Secret::new(match carrier {
        Carrier::Bearer | Carrier::Query(_) => format!("Authorization: Bearer {value}"),
        Carrier::Basic if value.contains(':') => format!("Authorization: Basic {}", STANDARD.encode(value)),
        Carrier::Basic => format!("Authorization: Basic {}", STANDARD.encode(format!("x-access-token:{value}"))),
        Carrier::Header(name) => format!("{name}: {value}"),
    })
}
