//! The flags of `run`, which stand in for a manifest.
//!
//! Every flag is read before any mistake is reported.

use super::{Over, Overrides, Request, WorkspaceMode, default_backend, default_image};
use crate::{
    host::{HostError, HostName, HostPattern},
    manifest::{Egress, Mistake, Mistakes, Place, Placed},
    notation::{Address, CpuMillis, Method, MountText, NotationError, Pids, Port, Size, Variable},
    plan::Limits,
    policy::{Auth, Carrier, PathPattern, Route},
    provider::Provider,
    secret::{SecretRef, SecretRefError},
};
use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

mod budget;
mod repositories;
mod screening;

/// As they were given.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub allow: Vec<String>,
    pub auth: Vec<String>,
    pub resolve: Vec<String>,
    pub upstream_ca: Vec<PathBuf>,
    pub env: Vec<String>,
    pub mounts: Vec<String>,
    pub ports: Vec<String>,
    pub limits: Vec<String>,
    pub protect: Vec<String>,
    pub on_finding: Vec<String>,
    pub exempt: Vec<String>,
    pub budgets: Vec<String>,
    pub git: Vec<String>,
    pub push: Vec<String>,
    pub no_canaries: bool,
    pub warm: bool,
    pub overrides: Overrides,
    /// Not empty.
    pub command: Vec<String>,
}

/// Why a flag's value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    #[error("{0}")]
    Notation(#[from] NotationError),
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("{0}")]
    Secret(#[from] SecretRefError),
    #[error("`{0}` is neither a port nor a list of methods")]
    PortOrMethods(String),
    #[error("a route is HOST[:PORT][:METHOD,…][/path], without `https://`")]
    Url,
    #[error("a secret is sent by HOST=SCHEME:SOURCE, as api.example.com=bearer:env:TOKEN")]
    Auth,
    #[error("a fixed address is HOST=IP:PORT")]
    Resolve,
    #[error("a variable is NAME=VALUE")]
    Variable,
    #[error("what a finding does is HOST=ACTION; an action is block, redact, ask or log")]
    OnFinding,
    #[error("an exemption is HOST=RULE,…, with rules as a denial names them")]
    Exempt,
    #[error("a repository is NAME=UPSTREAM, as app=git@github.com:acme/app.git")]
    Git,
    #[error("what may be pushed is NAME=REF or NAME=REF:allow, as app=refs/heads/agent/*")]
    Push,
    #[error("{0}")]
    Repository(#[from] crate::git::GitError),
    #[error("a limit is cpus=N, memory=SIZE, pids=N or disk=SIZE")]
    Limit,
    #[error(
        "a budget is bytes=SIZE, requests=N, per_host.bytes=SIZE, per_host.requests=N, hosts=N, random=SIZE or period=TIME"
    )]
    Budget,
}

/// `HOST[:PORT][:METHOD,…][/path]`, as in `api.example.com:GET,HEAD/repos/**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    pub host: HostPattern,
    pub port: Option<u16>,
    pub methods: Option<Vec<String>>,
    pub path: Option<PathPattern>,
}

impl FromStr for Allow {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Allow, FlagError> {
        if text.contains("://") {
            return Err(FlagError::Url);
        }
        let (authority, path) = match text.find('/') {
            Some(at) => {
                text.split_at_checked(at).map(|(authority, path)| (authority, Some(path))).ok_or(FlagError::Url)?
            }
            None => (text, None),
        };
        if authority.starts_with('[') || authority.parse::<std::net::IpAddr>().is_ok() {
            return Err(FlagError::Host(HostError::IpLiteral));
        }
        let mut parts = authority.split(':');
        let host = HostPattern::parse(parts.next().unwrap_or_default())?;
        let (mut port, mut methods) = (None, None);
        for part in parts {
            let numeric = part.starts_with(|c: char| c.is_ascii_digit());
            match (numeric, &port, &methods) {
                (true, None, None) => port = Some(part.parse::<Port>()?.0),
                (false, _, None) => methods = Some(methods_of(part)?),
                _ => return Err(FlagError::PortOrMethods(part.to_owned())),
            }
        }
        let path = path.map(str::parse).transpose()?;
        Ok(Allow { host, port, methods, path })
    }
}

fn methods_of(text: &str) -> Result<Vec<String>, FlagError> {
    text.split(',').map(|method| Ok(method.parse::<Method>()?.0)).collect()
}

impl Allow {
    fn route(self) -> Route {
        let usual = Route::to(self.host);
        Route {
            ports: self.port.map_or(usual.ports, |port| vec![port]),
            methods: self.methods,
            paths: self.path.map(|path| vec![path]),
            ..usual
        }
    }
}

/// `HOST=SCHEME:SOURCE`, as in `api.example.com=header.x-api-key:env:KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFor {
    pub host: HostPattern,
    pub auth: Auth,
}

impl FromStr for AuthFor {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<AuthFor, FlagError> {
        let (host, rest) = text.split_once('=').ok_or(FlagError::Auth)?;
        let (carrier, secret) = rest.split_once(':').ok_or(FlagError::Auth)?;
        let host = HostPattern::parse(host)?;
        let carrier: Carrier = carrier.parse()?;
        let secret: SecretRef = secret.parse()?;
        Ok(AuthFor { host, auth: Auth { carrier, secret } })
    }
}

/// `HOST=IP:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveTo {
    pub host: HostName,
    pub address: SocketAddr,
}

impl FromStr for ResolveTo {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<ResolveTo, FlagError> {
        let (host, address) = text.split_once('=').ok_or(FlagError::Resolve)?;
        Ok(ResolveTo { host: HostName::parse(host)?, address: address.parse::<Address>()?.0 })
    }
}

/// `NAME=VALUE`.
struct Assignment(String, String);

impl FromStr for Assignment {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Assignment, FlagError> {
        let (name, value) = text.split_once('=').ok_or(FlagError::Variable)?;
        Ok(Assignment(name.parse::<Variable>()?.0, value.to_owned()))
    }
}

/// `NAME=VALUE`, the names and values of a bottle's `limits`.
struct Limit(Limits);

impl FromStr for Limit {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Limit, FlagError> {
        let (name, value) = text.split_once('=').ok_or(FlagError::Limit)?;
        let none = Limits::default();
        Ok(Limit(match name {
            "cpus" => Limits { cpu_millis: Some(value.parse::<CpuMillis>()?.0), ..none },
            "memory" => Limits { memory: Some(value.parse::<Size>()?.0), ..none },
            "pids" => Limits { pids: Some(value.parse::<Pids>()?.0), ..none },
            "disk" => Limits { disk: Some(value.parse::<Size>()?.0), ..none },
            _ => return Err(FlagError::Limit),
        }))
    }
}

impl Flags {
    pub fn request(&self) -> Result<Request, Mistakes> {
        let mut mistakes = Vec::new();
        let place = Place::Flag("run".to_owned());
        let over = Over::read(&self.overrides, &mut mistakes);
        let mut routes = self.routes(&mut mistakes);
        self.authorise(&mut routes, &mut mistakes);
        screening::apply(self, &mut routes, &mut mistakes);
        let egress = Egress {
            routes,
            upstream_ca: self
                .upstream_ca
                .iter()
                .map(|path| placed("--upstream-ca", path.clone(), path.display()))
                .collect(),
            resolve: self.addresses(&mut mistakes),
            upstream_proxy: None,
        };
        let env = each::<Assignment>("--env", &self.env, &mut mistakes);
        let request = Request {
            agent: program_name(&self.command),
            bottle: None,
            backend: over.backend.unwrap_or_else(|| default_backend(&place)),
            topology: over.topology,
            provider: Placed { value: Provider::command(), place: place.clone() },
            command: Some(self.command.clone()),
            prompt: String::new(),
            task: None,
            skills: Vec::new(),
            skills_folder: None,
            image: over.image.unwrap_or_else(|| default_image(&place)),
            env: env.into_iter().map(|assignment| (assignment.value.0, assignment.value.1)).collect(),
            mounts: each::<MountText>("--mount", &self.mounts, &mut mistakes),
            workspace: over.workspace.unwrap_or_else(|| Placed { value: WorkspaceMode::Fitting, place: place.clone() }),
            egress,
            git: repositories::read(self, &mut mistakes),
            supervise: None,
            wait: None,
            limits: self.limits(&mut mistakes),
            ports: each::<Port>("--port", &self.ports, &mut mistakes),
            protect: each::<SecretRef>("--protect", &self.protect, &mut mistakes),
            canaries: !self.no_canaries,
            budgets: budget::budgets(self, &mut mistakes),
            warm: self.warm.then(|| Placed { value: true, place: Place::Flag("--warm".to_owned()) }),
            observe: self.overrides.observe,
            place,
        };
        Mistakes::check(request, mistakes)
    }

    fn routes(&self, mistakes: &mut Vec<Mistake>) -> Vec<Placed<Route>> {
        let allowed = each::<Allow>("--allow", &self.allow, mistakes);
        allowed.into_iter().map(|allow| Placed { value: allow.value.route(), place: allow.place }).collect()
    }

    /// Puts each `--auth` onto the routes of its host; one that has none would send nothing and is a mistake.
    fn authorise(&self, routes: &mut [Placed<Route>], mistakes: &mut Vec<Mistake>) {
        for auth in each::<AuthFor>("--auth", &self.auth, mistakes) {
            let host = &auth.value.host;
            let mut of_host = routes.iter_mut().filter(|route| route.value.host == *host).peekable();
            if of_host.peek().is_none() {
                let message = format!("nothing is allowed for {host}, so nothing could be sent there");
                mistakes.push(Mistake::new(&auth.place, message).hint(format!("add --allow {host}")));
            }
            for route in of_host {
                if route.value.auth.is_some() {
                    let message = format!("a secret for {host} is given twice");
                    mistakes.push(Mistake::new(&auth.place, message).hint("keep one of them"));
                    break;
                }
                route.value.auth = Some(auth.value.auth.clone());
            }
        }
    }

    /// Of a limit that is given twice, the last holds.
    fn limits(&self, mistakes: &mut Vec<Mistake>) -> Limits {
        let given = each::<Limit>("--limit", &self.limits, mistakes);
        given.into_iter().fold(Limits::default(), |limits, Placed { value: Limit(next), .. }| Limits {
            cpu_millis: next.cpu_millis.or(limits.cpu_millis),
            memory: next.memory.or(limits.memory),
            pids: next.pids.or(limits.pids),
            disk: next.disk.or(limits.disk),
        })
    }

    fn addresses(&self, mistakes: &mut Vec<Mistake>) -> BTreeMap<HostName, SocketAddr> {
        let mut addresses = BTreeMap::new();
        for resolve in each::<ResolveTo>("--resolve", &self.resolve, mistakes) {
            let ResolveTo { host, address } = resolve.value;
            if addresses.insert(host.clone(), address).is_some() {
                let message = format!("the address of {host} is given twice");
                mistakes.push(Mistake::new(&resolve.place, message).hint("keep one of them"));
            }
        }
        addresses
    }
}

fn each<T: FromStr<Err: Display>>(flag: &str, texts: &[String], mistakes: &mut Vec<Mistake>) -> Vec<Placed<T>> {
    let mut values = Vec::new();
    for text in texts {
        let place = Place::Flag(format!("{flag} {}", without_secret(flag, text)));
        match text.parse() {
            Ok(value) => values.push(Placed { value, place }),
            Err(error) => {
                let error: T::Err = error;
                mistakes.push(Mistake::new(&place, error.to_string()));
            }
        }
    }
    values
}

/// What of a flag's value may be repeated: someone may have written the secret itself where its source belongs.
fn without_secret(flag: &str, text: &str) -> String {
    let shown = match flag {
        "--auth" => text.split_once('=').map(|(host, rest)| host.len() + 1 + rest.find(':').unwrap_or(0)),
        "--protect" => Some(text.find(':').unwrap_or(0)),
        "--git" if text.contains('@') && text.contains("://") => text.find("://").map(|at| at + 3),
        "--env" => text.split_once('=').map(|(name, _)| name.len() + 1),
        _ => None,
    };
    match shown.and_then(|end| text.get(..end)) {
        Some(start) => format!("{start}…"),
        None => text.to_owned(),
    }
}

fn placed<T>(flag: &str, value: T, text: impl Display) -> Placed<T> {
    Placed { value, place: Place::Flag(format!("{flag} {text}")) }
}

/// What `run` calls its agent: the program, without its folder.
fn program_name(command: &[String]) -> String {
    let program = command.first().map(Path::new).and_then(Path::file_name);
    program.map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allow(text: &str) -> Allow {
        text.parse().unwrap()
    }

    #[test]
    fn a_route_in_a_flag() {
        let route = allow("api.github.com:GET/repos/acme/**");
        assert_eq!(route.host.to_string(), "api.github.com");
        assert_eq!(route.methods, Some(vec!["GET".to_owned()]));
        assert_eq!(route.path, Some(PathPattern("/repos/acme/**".to_owned())));
        assert_eq!(allow("a.test:8443:get,HEAD").port, Some(8443));
        assert_eq!(allow("a.test:8443:get,HEAD").methods, Some(vec!["GET".to_owned(), "HEAD".to_owned()]));
        assert_eq!(allow("*.a.test/x:y").path, Some(PathPattern("/x:y".to_owned())));
        for text in [
            "",
            ":GET",
            "/x",
            "https://a.test",
            "a.test:",
            "a.test:GET:443",
            "a.test:GET:POST",
            "a.test:1:2",
            "a.test:GET,",
            "a.test:CONNECT",
            "a.test/../x",
            "a.test/x?y",
            "1.2.3.4",
            "[::1]:443",
            "::1",
            "u@a.test",
            "a.test.evil.*",
            "a b",
        ] {
            assert!(text.parse::<Allow>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn mistakes_of_all_flags_come_together() {
        let text = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let flags = Flags {
            allow: text(&["a.test", "https://b.test", "a.test:GET:GET"]),
            auth: text(&["a.test=bearer:sk-verysecret", "c.test=bearer:env:T", "a.test=token:env:T", "a.test"]),
            resolve: text(&["a.test=127.0.0.1", "a.test=127.0.0.1:1", "a.test=127.0.0.1:2"]),
            env: text(&["A", "1=verysecret"]),
            mounts: text(&["/x", "/x:/etc"]),
            ports: text(&["0"]),
            protect: text(&["verysecret", "env:1verysecret"]),
            on_finding: text(&["a.test=drop", "d.test=log", "a.test"]),
            exempt: text(&["a.test=", "a.test=jwt,", "d.test=jwt"]),
            budgets: text(&["bytes", "bytes=1", "hosts=0", "period=1", "per_host=1KiB", "per_host.bytes=1MiB"]),
            git: text(&["app=https://u:verysecret@a.test/x", "app=ext::id", "app"]),
            push: text(&["app=refs/heads/*", "two=heads/x", "two=refs/heads/x:maybe"]),
            command: text(&["curl"]),
            ..Flags::default()
        };
        let mistakes = flags.request().unwrap_err();
        assert!(!mistakes.to_string().contains("verysecret"), "a secret written by mistake is not repeated");
        insta::assert_snapshot!(mistakes);
    }

    proptest! {
        /// What is allowed is what was written: the parts, put together again, are the text.
        #[test]
        fn a_route_says_what_was_written(
            host in "(\\*\\.)?[a-z]{1,5}\\.(test|example)",
            port in proptest::option::of(1..=u16::MAX),
            methods in proptest::option::of(proptest::collection::vec("[A-Z]{3,6}", 1..3)),
            path in proptest::option::of("(/[a-z0-9:,*]{1,4}){1,3}"),
        ) {
            prop_assume!(path.as_deref().is_none_or(|path| !path.contains("**")));
            let mut text = host.clone();
            text.extend(port.map(|port| format!(":{port}")));
            text.extend(methods.as_ref().map(|methods| format!(":{}", methods.join(","))));
            text.extend(path.clone());
            let route = allow(&text);
            prop_assert_eq!(route.host.to_string(), host);
            prop_assert_eq!((route.port, route.methods, route.path), (port, methods, path.map(PathPattern)));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = text.parse::<Allow>();
            let _ = text.parse::<AuthFor>();
            let _ = text.parse::<ResolveTo>();
        }

        /// Whatever is taken holds nothing that could end a line or a name.
        #[test]
        fn what_is_taken_is_clean(text in "[a-z.*:/,@\\[\\]\\\\%\r\n\u{0}\u{3002}A-Z0-9 ]{0,20}") {
            if let Ok(allow) = text.parse::<Allow>() {
                let shown = format!("{}{}{:?}", allow.host, allow.methods.iter().flatten().cloned().collect::<String>(), allow.path);
                prop_assert!(!shown.contains(['\r', '\n', '\0', ' ', '@']) || allow.path.is_some());
                prop_assert!(!allow.host.to_string().contains(['\r', '\n', '\0', ' ', '@', '/', ':', '\\', '%']));
            }
        }
    }
}
