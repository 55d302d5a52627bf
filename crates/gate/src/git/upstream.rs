//! How an upstream is reached: the transport, and the credential where it takes one.
//!
//! Invariants: ssh reads no configuration, offers no key but the one named, and takes no host key but those known;
//! a credential of https is in a sealed piece of memory that git has open, never in an argument, an environment or a
//! file.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bottle_spec::{
    git::{GitRepository, Kind, Upstream},
    policy::Carrier,
    secret::Secret,
};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::{
    fs::File,
    io::{self, Write as _},
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
    header: Option<Secret>,
}

impl Access {
    pub(crate) fn new(
        repository: &GitRepository,
        secret: Option<&Secret>,
        ssh_agent: Option<&Path>,
        certificates: Option<&Path>,
    ) -> Access {
        let header = repository.auth.as_ref().zip(secret).map(|(auth, secret)| header(&auth.carrier, secret));
        Access {
            upstream: repository.upstream.clone(),
            identity_file: repository.identity_file.clone(),
            known_hosts: repository.known_hosts.clone(),
            ssh_agent: ssh_agent.map(Path::to_owned),
            certificates: certificates.map(Path::to_owned),
            header,
        }
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
                if let Some(header) = &self.header {
                    let memory = self.credential(header, config)?;
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
        writeln!(file, "[http \"{}\"]\n\textraHeader = \"{value}\"", self.upstream)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(OwnedFd::from(file))
    }
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
