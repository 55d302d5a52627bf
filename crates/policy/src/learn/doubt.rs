//! What about a host looks like a way out for data rather than a need.

use super::Seen;
use crate::random;
use bottle_spec::host::HostName;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// So many names below one domain are more likely carriers than servers.
const CROWD: usize = 16;
/// Bodies of so many bytes, to a host that no secret went to.
const VOLUME: u64 = 4 << 20;

/// Names that exist to take what anyone sends, and to show it to whom they like: the host or any above it.
const DROPS: [&str; 24] = [
    "webhook.site",
    "requestbin.com",
    "requestbin.net",
    "pipedream.net",
    "beeceptor.com",
    "hookbin.com",
    "interact.sh",
    "oast.fun",
    "oast.live",
    "oast.me",
    "oast.online",
    "oast.pro",
    "oast.site",
    "burpcollaborator.net",
    "dnslog.cn",
    "transfer.sh",
    "file.io",
    "0x0.st",
    "pastebin.com",
    "hastebin.com",
    "paste.ee",
    "ngrok.io",
    "ngrok-free.app",
    "trycloudflare.com",
];

/// So many random characters in a name or a path carry more than an id does.
const RANDOM: usize = 24;
/// Paths there are made of hashes, and nobody but their keepers sees who asks.
const BY_HASH: [&str; 3] =
    ["files.pythonhosted.org", "objects.githubusercontent.com", "production.cloudflare.docker.com"];

/// Why a person should look before a route is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The scan found this in what was to leave.
    Finding(String),
    /// It takes what anyone sends.
    Drop,
    /// Anyone can own a name below this suffix.
    SharedSuffix(String),
    /// The name itself carries something.
    RandomName,
    /// Paths carry something.
    RandomPath,
    /// One of many names below this domain.
    Crowd { domain: String, names: usize },
    /// So many bytes were sent, without a secret.
    Volume(u64),
    /// Only tunnels were asked for, and refused: what was to go through them is not known.
    Unseen,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Finding(rule) => write!(f, "the scan found {rule} in what was to leave"),
            Doubt::Drop => f.write_str("this host takes whatever anyone sends"),
            Doubt::SharedSuffix(suffix) => write!(f, "anyone can own a name below {suffix}"),
            Doubt::RandomName => f.write_str("the name looks random, as a name that carries data does"),
            Doubt::RandomPath => f.write_str("paths look random, as paths that carry data do"),
            Doubt::Crowd { domain, names } => write!(f, "one of {names} names below {domain}"),
            Doubt::Volume(bytes) => write!(f, "{} MiB were sent there, without a secret", bytes >> 20),
            Doubt::Unseen => f.write_str("only its name is known: run it again with --observe to see what it asks"),
        }
    }
}

/// Domains with more names below them than anyone needs, and how many.
pub(super) fn crowded<'a>(hosts: impl Iterator<Item = &'a HostName>) -> BTreeMap<String, usize> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for domain in hosts.filter_map(registrable) {
        *names.entry(domain).or_default() += 1;
    }
    names.retain(|_, count| *count > CROWD);
    names
}

fn registrable(host: &HostName) -> Option<String> {
    std::str::from_utf8(psl::domain(host.as_str().as_bytes())?.as_bytes()).ok().map(str::to_owned)
}

pub(super) fn doubts(host: &HostName, seen: &Seen, crowded: &BTreeMap<String, usize>) -> Vec<Doubt> {
    let mut doubts: Vec<Doubt> = seen.findings.iter().cloned().map(Doubt::Finding).collect();
    let name = host.as_str();
    let below = |parent: &&str| name.strip_suffix(*parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if DROPS.iter().any(below) {
        doubts.push(Doubt::Drop);
    }
    if let Some(suffix) = psl::suffix(name.as_bytes()).filter(|suffix| suffix.typ() == Some(psl::Type::Private)) {
        doubts.push(Doubt::SharedSuffix(String::from_utf8_lossy(suffix.as_bytes()).into_owned()));
    }
    if is_random(name) {
        doubts.push(Doubt::RandomName);
    }
    let paths: BTreeSet<&String> = seen.paths.values().flatten().collect();
    let random = paths.iter().filter(|path| is_random(path)).count();
    if random * 2 > paths.len() && !BY_HASH.contains(&name) {
        doubts.push(Doubt::RandomPath);
    }
    if let Some((domain, names)) = registrable(host).and_then(|domain| crowded.get_key_value(&domain)) {
        doubts.push(Doubt::Crowd { domain: domain.clone(), names: *names });
    }
    if seen.sent > VOLUME && !seen.injected {
        doubts.push(Doubt::Volume(seen.sent));
    }
    if seen.paths.is_empty() && seen.tunnels > 0 {
        doubts.push(Doubt::Unseen);
    }
    doubts
}

fn is_random(text: &str) -> bool {
    random::words(text).map(<[u8]>::len).sum::<usize>() >= RANDOM
}
