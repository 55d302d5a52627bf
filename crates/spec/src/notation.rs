//! How single values are written, in manifests and in flags alike: sizes, hosts with ports, paths, images, mounts.

use crate::{
    host::{HostError, HostName, HostPattern},
    plan::Image,
    policy::{Carrier, PathPattern},
};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Component, Path, PathBuf},
    str::FromStr,
};

mod period;

pub use period::{Count, Period};

/// Why a text is not the value it should be. Each says what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    #[error("a size is a whole number and a unit: `512MiB`, `4GiB`, `10GB`")]
    Size,
    #[error("an amount of CPUs is a number such as `2` or `0.5`, up to 1024")]
    Cpus,
    #[error("this is a whole number from 1 to {0}")]
    Count(u32),
    #[error("a period is a number and a unit, at most 30 days: `30s`, `10m`, `1h`, `1d`")]
    Period,
    #[error("a port is a number from 1 to 65535")]
    Port,
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("a method is a word such as GET or POST")]
    Method,
    #[error("CONNECT opens tunnels and is no method of a route")]
    Connect,
    #[error("a path starts with `/`")]
    PathNotAbsolute,
    #[error("a path pattern holds no query, fragment, backslash or control character")]
    PathCharacter,
    #[error("`**` stands for whole segments: `/a/**`, `/**/b`")]
    PathDoubleStar,
    #[error("`.`, `..` and empty segments match nothing")]
    PathSegment,
    #[error("`%` is followed by two hexadecimal digits")]
    PathEscape,
    #[error("a name is 1 to 63 letters, digits, `-` and `_`, and starts with a letter or digit")]
    Name,
    #[error("a variable's name is letters, digits and `_`, and does not start with a digit")]
    Variable,
    #[error(
        "an image is `host`, an OCI reference, `dockerfile:`, `docker-archive:`, `oci-archive:`, `dir:` or `smolmachine:` and a path, or `provider:` and a reference"
    )]
    Image,
    #[error("a mount is SOURCE:TARGET, read-only, or SOURCE:TARGET:rw")]
    Mount,
    #[error("a mount's target is an absolute path without `.` and `..`")]
    MountTarget,
    #[error("this place is the bottle's own")]
    MountReserved,
    #[error("an address is IP:PORT, as 127.0.0.1:9443 or [::1]:9443")]
    Address,
    #[error("a proxy is http://HOST:PORT")]
    Proxy,
    #[error("a proxy's user and password are a secret: name its source under `auth`")]
    ProxyUserinfo,
    #[error("a way to send a secret is bearer, basic, header.NAME or query.NAME")]
    Carrier,
    #[error("a header's name is letters, digits and `-`")]
    HeaderName,
    #[error("a query parameter's name is letters, digits and `-`, `_`, `.`")]
    QueryName,
}

/// Bytes, from `512MiB`, `4GiB` or, in powers of ten, `10GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Size, NotationError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(NotationError::Size)?;
        let scale: u64 = match unit.trim_start() {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(NotationError::Size),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        bytes.filter(|bytes| *bytes > 0).map(Size).ok_or(NotationError::Size)
    }
}

/// Thousandths of a CPU, from `2`, `0.5` or `1.25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMillis(pub u32);

impl FromStr for CpuMillis {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<CpuMillis, NotationError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 4 || fraction.len() > 3 {
            return Err(NotationError::Cpus);
        }
        let millis = format!("{whole}{fraction:0<3}").parse().map_err(|_| NotationError::Cpus)?;
        if (1..=1_024_000).contains(&millis) { Ok(CpuMillis(millis)) } else { Err(NotationError::Cpus) }
    }
}

/// A number of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pids(pub u32);

impl FromStr for Pids {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Pids, NotationError> {
        const MAX: u32 = 4_194_304;
        number(text).filter(|pids| (1..=MAX).contains(pids)).map(Pids).ok_or(NotationError::Count(MAX))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub u16);

impl FromStr for Port {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Port, NotationError> {
        number(text).filter(|port| *port > 0).map(Port).ok_or(NotationError::Port)
    }
}

/// Digits alone: no sign, no blank, no leading zero that someone might read as octal.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// `HOST` or `HOST:PORT`, the host perhaps `*.NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAndPort {
    pub host: HostPattern,
    pub port: Option<u16>,
}

impl FromStr for HostAndPort {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<HostAndPort, NotationError> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(NotationError::Host(HostError::IpLiteral));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<Port>()?.0)),
            None => (text, None),
        };
        Ok(HostAndPort { host: HostPattern::parse(host)?, port })
    }
}

/// A method in upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method(pub String);

impl FromStr for Method {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Method, NotationError> {
        // RFC 9110 allows more in a token; no method in use has any of it.
        let word = text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_');
        if text.is_empty() || !word || text.len() > 32 {
            return Err(NotationError::Method);
        }
        match text.to_ascii_uppercase() {
            method if method == "CONNECT" => Err(NotationError::Connect),
            method => Ok(Method(method)),
        }
    }
}

impl FromStr for PathPattern {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<PathPattern, NotationError> {
        let rest = text.strip_prefix('/').ok_or(NotationError::PathNotAbsolute)?;
        if text.contains(['?', '#', '\\']) || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(NotationError::PathCharacter);
        }
        let segments: Vec<&str> = rest.split('/').collect();
        let inner_empty = segments.iter().rev().skip(1).any(|segment| segment.is_empty());
        if inner_empty || segments.iter().any(|segment| matches!(*segment, "." | "..")) {
            return Err(NotationError::PathSegment);
        }
        if segments.iter().any(|segment| segment.contains("**") && *segment != "**") {
            return Err(NotationError::PathDoubleStar);
        }
        let escaped = |tail: &str| tail.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        if !text.split('%').skip(1).all(escaped) {
            return Err(NotationError::PathEscape);
        }
        Ok(PathPattern(text.to_owned()))
    }
}

/// The name of an agent or a bottle: a file name without its ending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub String);

impl FromStr for Name {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Name, NotationError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let head = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if head && text.len() <= 63 && text.bytes().all(plain) {
            Ok(Name(text.to_owned()))
        } else {
            Err(NotationError::Name)
        }
    }
}

/// The name of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable(pub String);

impl FromStr for Variable {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Variable, NotationError> {
        let head = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if head && plain { Ok(Variable(text.to_owned())) } else { Err(NotationError::Variable) }
    }
}

/// Paths in it are as written: `~` and relative ones are not resolved yet.
impl FromStr for Image {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Image, NotationError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let path = || if rest.is_empty() { Err(NotationError::Image) } else { Ok(PathBuf::from(rest)) };
        match kind {
            "host" if text == "host" => Ok(Image::Host),
            "dockerfile" => path().map(Image::Dockerfile),
            "docker-archive" => path().map(Image::DockerArchive),
            "oci-archive" => path().map(Image::OciArchive),
            "dir" => path().map(Image::Dir),
            "smolmachine" => path().map(Image::Smolmachine),
            "provider" if is_reference(rest) => Ok(Image::Provider(rest.to_owned())),
            "provider" => Err(NotationError::Image),
            _ if is_reference(text) => Ok(Image::Reference(text.to_owned())),
            _ => Err(NotationError::Image),
        }
    }
}

/// What may stand in an OCI reference; never something that a command line would take for an option.
fn is_reference(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    let head = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    head && text.len() <= 512 && text.bytes().all(plain) && !text.contains("..") && !text.contains("//")
}

/// `SOURCE:TARGET` or `SOURCE:TARGET:rw` (`:ro` says what is so anyway).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountText {
    /// As written: `~` and relative paths are not resolved yet.
    pub source: PathBuf,
    pub target: PathBuf,
    pub writable: bool,
}

impl FromStr for MountText {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<MountText, NotationError> {
        let (paths, writable) = match text.strip_suffix(":rw") {
            Some(paths) => (paths, true),
            None => (text.strip_suffix(":ro").unwrap_or(text), false),
        };
        let (source, target) = paths.split_once(':').ok_or(NotationError::Mount)?;
        if source.is_empty() || target.contains(':') || text.contains('\0') {
            return Err(NotationError::Mount);
        }
        Ok(MountText { source: PathBuf::from(source), target: mount_target(target)?, writable })
    }
}

/// What the bottle makes for itself or shows of the image; a mount there would hide the one or fail in the other.
const RESERVED: [&str; 12] =
    ["/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/workspace"];

fn mount_target(text: &str) -> Result<PathBuf, NotationError> {
    let path = Path::new(text);
    let straight = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // `components` drops `.` and doubled slashes in the middle; what it would print must be what was written.
    let clean = !text.contains("/./") && !text.contains("//") && !text.ends_with("/.");
    if !path.is_absolute() || !straight || !clean {
        return Err(NotationError::MountTarget);
    }
    let target: PathBuf = path.components().collect();
    let reserved = target == Path::new("/")
        || target == Path::new("/home")
        || target == Path::new("/home/agent")
        || target == Path::new("/tmp")
        || RESERVED.iter().any(|place| target.starts_with(place));
    if reserved { Err(NotationError::MountReserved) } else { Ok(target) }
}

/// `IP:PORT`, the right side of `resolve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Address, NotationError> {
        let address: Option<SocketAddr> = text.parse().ok();
        address.filter(|address| address.port() > 0).map(Address).ok_or(NotationError::Address)
    }
}

/// `http://HOST:PORT`. The way to the proxy itself is plain HTTP, as corporate proxies have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    pub host: String,
    pub port: u16,
}

impl FromStr for ProxyUrl {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<ProxyUrl, NotationError> {
        let rest = text.strip_prefix("http://").ok_or(NotationError::Proxy)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(NotationError::ProxyUserinfo);
        }
        let (host, port) = authority.rsplit_once(':').ok_or(NotationError::Proxy)?;
        let port = port.parse::<Port>()?.0;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(address) => Ok(ProxyUrl { host: address.to_string(), port }),
            Err(_) => Ok(ProxyUrl { host: HostName::parse(host)?.to_string(), port }),
        }
    }
}

/// `bearer`, `basic`, `header.NAME` or `query.NAME`.
impl FromStr for Carrier {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Carrier, NotationError> {
        match text.split_once('.') {
            None if text == "bearer" => Ok(Carrier::Bearer),
            None if text == "basic" => Ok(Carrier::Basic),
            Some(("header", name)) => header_name(name),
            Some(("query", name)) => query_name(name),
            _ => Err(NotationError::Carrier),
        }
    }
}

/// Headers that frame or route a message cannot carry a credential.
const FRAMING: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(crate) fn header_name(name: &str) -> Result<Carrier, NotationError> {
    let name = name.to_ascii_lowercase();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if name.is_empty() || !plain || FRAMING.contains(&name.as_str()) {
        return Err(NotationError::HeaderName);
    }
    Ok(Carrier::Header(name))
}

pub(crate) fn query_name(name: &str) -> Result<Carrier, NotationError> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if name.is_empty() || !plain { Err(NotationError::QueryName) } else { Ok(Carrier::Query(name.to_owned())) }
}

#[cfg(test)]
mod tests;
