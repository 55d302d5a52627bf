//! Real servers of git on loopback: OpenSSH's sshd, and `git http-backend` behind nginx and fcgiwrap.
//!
//! Each is `None` where its programs are not installed. They serve what their user may read, and end with their value.

use crate::{authority::Shown, authority::TestAuthority, wait::wait_until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const PATH: &str = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin";
const SOON: Duration = Duration::from_secs(10);

/// sshd with one key that it lets in as the user who runs it.
#[derive(Debug)]
pub struct Sshd {
    server: Child,
    port: u16,
    /// The private key that it lets in.
    pub identity: PathBuf,
    pub known_hosts: PathBuf,
}

impl Sshd {
    /// Its files are below `root`; `owner` is whose the key is to be.
    pub fn start(root: &Path, owner: u32) -> Option<Sshd> {
        Sshd::start_with(root, owner, "")
    }

    /// With variables besides, each `NAME=VALUE`, for what it runs.
    pub fn start_with(root: &Path, owner: u32, variables: &str) -> Option<Sshd> {
        let program = installed("sshd")?;
        let directory = root.join("sshd");
        fs::create_dir(&directory).expect("a directory of ours");
        let key = |name: &str| {
            let path = directory.join(name);
            let made = command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
            path
        };
        let (host, identity) = (key("host"), key("identity"));
        let authorized = directory.join("authorized");
        fs::copy(identity.with_extension("pub"), &authorized).expect("a key of ours");
        let port = free_port();
        let host_key = fs::read_to_string(host.with_extension("pub")).expect("a key of ours");
        let known_hosts = directory.join("known_hosts");
        fs::write(&known_hosts, format!("[127.0.0.1]:{port} {host_key}")).expect("a file of ours");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nSetEnv PATH={PATH} {variables}\n\
             AcceptEnv GIT_PROTOCOL\n",
            host.display(),
            authorized.display()
        );
        fs::write(directory.join("config"), config).expect("a file of ours");
        if rustix::process::getuid().is_root() {
            // Debian's service makes it; without it sshd does not start.
            fs::create_dir_all("/run/sshd").expect("root may make it");
            for path in [&directory, &identity, &known_hosts] {
                chown(path, Some(owner), Some(owner)).expect("root may give a file away");
            }
        }
        let mut server = command(&program);
        server.args(["-D", "-e", "-f"]).arg(directory.join("config"));
        let server = server.spawn().expect("sshd starts");
        answers(port);
        Some(Sshd { server, port, identity, known_hosts })
    }

    /// How OpenSSH's client is told of it by the name `host`.
    pub fn client_config(&self, host: &str) -> String {
        format!(
            "Host {host}\nHostName 127.0.0.1\nPort {}\nIdentityFile {}\nUserKnownHostsFile {}\n",
            self.port,
            self.identity.display(),
            self.known_hosts.display()
        )
    }

    /// The upstream of a repository at `path`.
    pub fn url(&self, path: &Path) -> String {
        let user = command("id").arg("-un").stdout(Stdio::piped()).output().expect("id runs").stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        format!("ssh://{user}@127.0.0.1:{}{}", self.port, path.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = (self.server.kill(), self.server.wait());
    }
}

/// nginx with TLS that serves the repositories of a directory to whoever sends one header.
#[derive(Debug)]
pub struct GitWeb {
    nginx: Child,
    fcgiwrap: Child,
    authority: TestAuthority,
    port: u16,
}

impl GitWeb {
    /// Serves `repositories` to those whose `Authorization` is this.
    pub fn start(root: &Path, repositories: &Path, authorization: &str) -> Option<GitWeb> {
        let (nginx, fcgiwrap) = (installed("nginx")?, installed("fcgiwrap")?);
        let directory = root.join("nginx");
        fs::create_dir(&directory).expect("a directory of ours");
        let authority = TestAuthority::new();
        let leaf = authority.leaf(&["localhost", "github.com", "git.example.test"], Shown::Valid);
        let chain: String = leaf.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        fs::write(directory.join("chain.pem"), chain).expect("a file of ours");
        fs::write(directory.join("key.pem"), pem("PRIVATE KEY", leaf.key.secret_der())).expect("a file of ours");
        let socket = directory.join("fcgi.sock");
        let port = free_port();
        let backend = command("git").arg("--exec-path").stdout(Stdio::piped()).output().expect("git runs").stdout;
        let backend = format!("{}/git-http-backend", String::from_utf8_lossy(&backend).trim());
        let place = directory.display();
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log; {user}
             events {{ }}
             http {{
               access_log {place}/access.log; client_body_temp_path {place}/body; fastcgi_temp_path {place}/fcgi;
               proxy_temp_path {place}/proxy; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
               server {{
                 listen 127.0.0.1:{port} ssl; ssl_certificate {place}/chain.pem; ssl_certificate_key {place}/key.pem;
                 client_max_body_size 0;
                 location / {{
                   if ($http_authorization != \"{authorization}\") {{ return 401; }}
                   fastcgi_pass unix:{}; fastcgi_param SCRIPT_FILENAME {backend};
                   fastcgi_param GIT_PROJECT_ROOT {}; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
                   fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string;
                   fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;
                   fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
                   fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol; fastcgi_param REMOTE_USER tester;
                   fastcgi_param PATH {PATH}; fastcgi_param GIT_CONFIG_NOSYSTEM 1; fastcgi_param HOME /nonexistent;
                   fastcgi_param GIT_CONFIG_COUNT 1; fastcgi_param GIT_CONFIG_KEY_0 safe.directory;
                   fastcgi_param GIT_CONFIG_VALUE_0 *;
                 }}
               }}
             }}\n",
            socket.display(),
            repositories.display()
        );
        fs::write(directory.join("nginx.conf"), config).expect("a file of ours");
        let fcgiwrap = command(&fcgiwrap).arg("-s").arg(format!("unix:{}", socket.display())).spawn();
        let fcgiwrap = fcgiwrap.expect("fcgiwrap starts");
        let config = directory.join("nginx.conf");
        let nginx = command(&nginx).args(["-p"]).arg(&directory).arg("-c").arg(config).spawn().expect("nginx starts");
        let web = GitWeb { nginx, fcgiwrap, authority, port };
        wait_until("fcgiwrap's socket", SOON, || socket.exists());
        // nginx reaches it as another user where root starts it.
        let _ = fs::set_permissions(&socket, fs::Permissions::from_mode(0o777));
        answers(port);
        Some(web)
    }

    pub fn authority(&self) -> &TestAuthority {
        &self.authority
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The upstream of the repository of this name.
    pub fn url(&self, name: &str) -> String {
        format!("https://localhost:{}/{name}", self.port)
    }
}

impl Drop for GitWeb {
    fn drop(&mut self) {
        for server in [&mut self.nginx, &mut self.fcgiwrap] {
            let _ = (server.kill(), server.wait());
        }
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn installed(program: &str) -> Option<PathBuf> {
    PATH.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it is bound").port()
}

fn answers(port: u16) {
    wait_until("a server to answer", SOON, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
}
