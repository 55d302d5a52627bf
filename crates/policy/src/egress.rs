//! Whether one request may leave, and by which route.
//!
//! Invariant: the first route whose host, port, method and path all match decides. A route that cannot tell (an
//! ambiguous path where it restricts paths, a method override where it restricts methods) does not match; it never
//! makes the answer wider.

use crate::{
    path::{Pattern, Readings, has_forbidden_bytes},
    validate::{Fault, faults},
};
use bottle_spec::{
    host::{HostName, HostPattern},
    policy::{EgressPolicy, Route, Tls},
    secret::SecretRef,
    verdict::Reason,
};

/// A valid policy, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    policy: EgressPolicy,
    /// The path patterns of each route, in the order of `policy.routes`.
    paths: Vec<Option<Vec<Pattern>>>,
    /// Where the bottle is observed: what decides after all routes have not. Its index is the one after theirs.
    observed: Option<Route>,
}

/// What is asked about one request.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub host: &'a HostName,
    pub port: u16,
    pub method: &'a str,
    /// As received, without the query; starts with `/`.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// Whether some header asks for another method; see [`is_method_override`].
    pub method_override: bool,
}

/// A thing that can be asked about. The answer holds for the thing as it was when asked, so [`Permitted`] hands out no
/// mutable reference to it.
pub trait Subject {
    fn question(&self) -> Question<'_>;
}

impl Subject for Question<'_> {
    fn question(&self) -> Question<'_> {
        *self
    }
}

/// Proof that the policy allowed this subject, and by which route. Only [`Rules::permit`] makes one.
#[derive(Debug)]
pub struct Permitted<T> {
    subject: T,
    route: usize,
}

impl<T> Permitted<T> {
    pub fn subject(&self) -> &T {
        &self.subject
    }

    /// The index of the route in the policy that was asked.
    pub fn route(&self) -> usize {
        self.route
    }

    pub fn into_inner(self) -> T {
        self.subject
    }
}

/// A subject that may not pass, given back with the reason.
#[derive(Debug)]
pub struct Refused<T> {
    pub subject: T,
    pub reason: Reason,
}

impl Rules {
    /// Takes a policy as a whole or not at all; reports everything that is wrong with it.
    pub fn new(policy: EgressPolicy) -> Result<Rules, Vec<Fault>> {
        let faults = faults(&policy);
        if !faults.is_empty() {
            return Err(faults);
        }
        let compile = |route: &Route| {
            route.paths.as_ref().map(|paths| paths.iter().filter_map(|p| Pattern::parse(&p.0)).collect())
        };
        let paths = policy.routes.iter().map(compile).collect();
        // Its host is never asked about.
        let observed = policy.observe.then(|| HostPattern::parse("*.invalid").ok().map(Route::to)).flatten();
        Ok(Rules { policy, paths, observed })
    }

    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    pub fn route(&self, index: usize) -> Option<&Route> {
        self.policy.routes.get(index).or_else(|| self.observed.as_ref().filter(|_| self.is_observed(index)))
    }

    /// Whether this is no route of the policy, but what an observed bottle may do besides.
    pub fn is_observed(&self, index: usize) -> bool {
        index == self.policy.routes.len()
    }

    /// Whether a tunnel to this host and port may be opened, and what becomes of TLS in it. The requests inside are
    /// asked about one by one.
    pub fn tunnel(&self, host: &HostName, port: u16) -> Result<Tls, Reason> {
        let route = self.tunnel_route(host, port)?;
        Ok(self.route(route).map(|route| route.tls).unwrap_or_default())
    }

    /// The same, and by which route.
    pub fn tunnel_route(&self, host: &HostName, port: u16) -> Result<usize, Reason> {
        let mut reason = Reason::NoRoute;
        for (index, route) in self.policy.routes.iter().enumerate().filter(|(_, route)| route.host.matches(host)) {
            if route.ports.contains(&port) {
                return Ok(index);
            }
            reason = Reason::PortNotAllowed;
        }
        self.observed(host, port).map(|_| self.policy.routes.len()).ok_or(reason)
    }

    /// Asks about a subject.
    pub fn permit<T: Subject>(&self, subject: T) -> Result<Permitted<T>, Refused<T>> {
        match self.decide(&subject.question()) {
            Ok(route) => Ok(Permitted { subject, route }),
            Err(reason) => Err(Refused { subject, reason }),
        }
    }

    fn decide(&self, question: &Question<'_>) -> Result<usize, Reason> {
        if has_forbidden_bytes(question.path) {
            return Err(Reason::PathAmbiguous);
        }
        if !question.path.starts_with('/') {
            return Err(Reason::RequestMalformed);
        }
        // The reason given is that of the route which came nearest to matching.
        let mut nearest = (0, Reason::NoRoute);
        for (index, (route, paths)) in self.policy.routes.iter().zip(&self.paths).enumerate() {
            match miss(route, paths.as_deref(), question) {
                None => return Ok(index),
                Some(miss) if miss.0 > nearest.0 => nearest = miss,
                Some(_) => {}
            }
        }
        let observed = self.observed(question.host, question.port);
        match nearest.1 {
            Reason::NoRoute | Reason::PortNotAllowed | Reason::MethodNotAllowed | Reason::PathNotAllowed
                if observed.is_some() =>
            {
                Ok(self.policy.routes.len())
            }
            reason => Err(reason),
        }
    }

    /// What decides about this host after all routes, where the bottle is observed. Names that are
    /// nobody's stay refused: the launch's probe asks for one.
    fn observed(&self, host: &HostName, port: u16) -> Option<&Route> {
        self.observed.as_ref().filter(|observed| !is_nobodys(host) && observed.ports.contains(&port))
    }

    /// Whether some route lets this host resolve to a private address.
    pub fn allows_private(&self, host: &HostName, port: u16) -> bool {
        self.policy.routes.iter().any(|r| r.private && r.host.matches(host) && r.ports.contains(&port))
    }

    /// Every secret that some route may inject for this host.
    pub fn secrets_for<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a SecretRef> {
        let routes = self.policy.routes.iter().filter(move |route| route.host.matches(host));
        routes.filter_map(|route| route.auth.as_ref()).map(|auth| &auth.secret)
    }
}

/// Whether nobody can own this name in the DNS (RFC 6761, RFC 7686).
pub(crate) fn is_nobodys(host: &HostName) -> bool {
    matches!(host.as_str().rsplit('.').next(), Some("invalid" | "localhost" | "onion"))
}

/// How near a route came, and why it does not match; `None` where it does.
fn miss(route: &Route, paths: Option<&[Pattern]>, question: &Question<'_>) -> Option<(u8, Reason)> {
    if !route.host.matches(question.host) {
        return Some((0, Reason::NoRoute));
    }
    if !route.ports.contains(&question.port) {
        return Some((1, Reason::PortNotAllowed));
    }
    if let Some(methods) = &route.methods {
        if !methods.iter().any(|method| method == question.method) {
            return Some((2, Reason::MethodNotAllowed));
        }
        if question.method_override || question.query.is_some_and(overrides_method) {
            return Some((3, Reason::MethodOverride));
        }
    }
    // They make a server say back what it was sent, credentials and all; nobody means them by "every method".
    if route.methods.is_none() && ["TRACE", "TRACK"].iter().any(|echo| echo.eq_ignore_ascii_case(question.method)) {
        return Some((2, Reason::MethodNotAllowed));
    }
    let patterns = paths?;
    match Readings::of(question.path) {
        Err(_) => Some((5, Reason::PathAmbiguous)),
        Ok(readings) if readings.all_match(patterns) => None,
        Ok(_) => Some((4, Reason::PathNotAllowed)),
    }
}

/// Whether a header of this name (in any case, `_` for `-`) makes some servers act on another method.
pub fn is_method_override(name: &str) -> bool {
    const NAMES: [&str; 4] = ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"];
    let same = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    let spelled = |known: &&str| known.len() == name.len() && name.bytes().zip(known.bytes()).all(|(a, b)| same(a, b));
    NAMES.iter().any(spelled)
}

/// Rails, Symfony and others take a parameter `_method`, also from the query.
fn overrides_method(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        percent_encoding::percent_decode_str(name).decode_utf8_lossy().eq_ignore_ascii_case("_method")
    })
}
