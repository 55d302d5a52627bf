//! Puts a route's secret into a request, in the place of whatever credential the agent sent.
//!
//! Invariant: only here does a secret enter a request, only into one that goes out over verified TLS, and only after
//! it was permitted and screened. A placeholder is never looked for and never substituted: what the agent sends in
//! other places goes out as it is.

use super::{
    authority::Origin,
    body::RequestBody,
    respond::strip_connection,
    screen::Screened,
    scrub::{Scrubber, percent_encoded},
};
use crate::vault::{Held, Vault};
use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::STANDARD};
use bottle_policy::Rules;
use bottle_spec::{
    policy::{Auth, Carrier},
    secret::SecretRef,
    verdict::Reason,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header, uri::PathAndQuery};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Headers in which clients carry credentials of their own. On a route with a secret all of them go: the request is
/// made in the name of the route's secret or not at all.
const CREDENTIALS: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("private-token"),
    HeaderName::from_static("x-auth-key"),
    HeaderName::from_static("x-token"),
];

/// A request as it goes upstream; only `upstream` takes it.
#[derive(Debug)]
pub(crate) struct Credentialed {
    pub(super) origin: Arc<Origin>,
    pub(super) request: Request<RequestBody>,
    pub(super) injected: Option<Injected>,
    /// Present where some route has a secret for this host.
    pub(super) scrubber: Option<Arc<Scrubber>>,
    pub(super) upgrade: Option<OnUpgrade>,
}

/// Which secret a request wears.
#[derive(Debug, Clone)]
pub(crate) struct Injected {
    pub(crate) source: SecretRef,
    pub(crate) generation: u64,
}

/// The secrets of one policy, dressed for their routes. Made anew when a secret is.
#[derive(Debug)]
pub(crate) struct Credentials {
    routes: Vec<ArcSwapOption<Worn>>,
    scrubber: ArcSwapOption<Scrubber>,
}

struct Worn {
    generation: u64,
    form: Form,
}

enum Form {
    Header(HeaderName, HeaderValue),
    /// The parameter's name, and `NAME=VALUE` as it is sent.
    Query(String, Zeroizing<String>),
}

impl std::fmt::Debug for Worn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worn").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Credentials {
    pub(crate) fn new(rules: &Rules) -> Credentials {
        let routes = rules.policy().routes.iter().map(|_| ArcSwapOption::empty()).collect();
        Credentials { routes, scrubber: ArcSwapOption::empty() }
    }

    /// Makes a screened request ready to go, with its route's secret where it has one.
    pub(crate) fn inject(&self, screened: Screened, rules: &Rules, vault: &Vault) -> Result<Credentialed, Reason> {
        let Screened { origin, route, mut parts, body, upgrade } = screened;
        let auth = rules.route(route).ok_or(Reason::PolicyError)?.auth.as_ref();
        let mut target = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        strip_connection(&mut parts.headers);
        strip_request(&mut parts.headers, upgrade.is_some());
        let mut injected = None;
        if let Some(auth) = auth {
            if !origin.tls {
                return Err(Reason::PlaintextCredential);
            }
            let worn = self.worn(route, auth, rules, vault)?;
            strip_credentials(&mut parts.headers, &auth.carrier);
            target = wear(&worn.form, &mut parts.headers, target)?;
            injected = Some(Injected { source: auth.secret.clone(), generation: worn.generation });
        }
        let scrubber = rules.secrets_for(&origin.host).next().map(|_| self.scrubber(rules, vault));
        if scrubber.is_some() {
            // What comes back is searched: it should come uncompressed, and not in pieces that the agent chooses.
            parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            parts.headers.remove(header::RANGE);
            parts.headers.remove(header::IF_RANGE);
            parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        }
        // Scheme and authority are the origin's; how they are said depends on what the upstream speaks.
        parts.uri = Uri::from(target);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        Ok(Credentialed { origin, request: Request::from_parts(parts, body), injected, scrubber, upgrade })
    }

    /// The secret of a route, dressed; from the cache unless the vault has a newer one.
    fn worn(&self, route: usize, auth: &Auth, rules: &Rules, vault: &Vault) -> Result<Arc<Worn>, Reason> {
        let cell = self.routes.get(route).ok_or(Reason::PolicyError)?;
        let held = vault.value(&auth.secret).ok_or(Reason::SecretUnavailable)?;
        if let Some(worn) = cell.load_full().filter(|worn| worn.generation == held.generation) {
            return Ok(worn);
        }
        let worn = Arc::new(Worn { generation: held.generation, form: dress(&auth.carrier, &held)? });
        cell.store(Some(Arc::clone(&worn)));
        self.scrubber.store(Some(scrubber_of(rules, vault)));
        Ok(worn)
    }

    fn scrubber(&self, rules: &Rules, vault: &Vault) -> Arc<Scrubber> {
        self.scrubber.load_full().unwrap_or_else(|| {
            let scrubber = scrubber_of(rules, vault);
            self.scrubber.store(Some(Arc::clone(&scrubber)));
            scrubber
        })
    }
}

/// For every secret of the policy: one host's echo may hold what another host was sent.
fn scrubber_of(rules: &Rules, vault: &Vault) -> Arc<Scrubber> {
    let auths = rules.policy().routes.iter().filter_map(|route| route.auth.as_ref());
    let held: Vec<Held> = auths.filter_map(|auth| vault.value(&auth.secret)).collect();
    Arc::new(Scrubber::new(held.iter().map(|held| (&held.value, &held.placeholder))))
}

fn dress(carrier: &Carrier, held: &Held) -> Result<Form, Reason> {
    let value = held.value.expose();
    let (name, text) = match carrier {
        Carrier::Bearer => (header::AUTHORIZATION, Zeroizing::new(format!("Bearer {value}"))),
        Carrier::Basic => (header::AUTHORIZATION, Zeroizing::new(format!("Basic {}", STANDARD.encode(value)))),
        Carrier::Header(name) => {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| Reason::PolicyError)?;
            (name, Zeroizing::new(value.to_owned()))
        }
        Carrier::Query(name) => {
            let encoded = Zeroizing::new(percent_encoded(value));
            let pair = Zeroizing::new(format!("{}={}", percent_encoded(name), encoded.as_str()));
            return Ok(Form::Query(name.clone(), pair));
        }
    };
    // A line break in a secret ends here, not in a second header.
    let mut value = HeaderValue::try_from(text.as_str()).map_err(|_| Reason::SecretUnavailable)?;
    value.set_sensitive(true);
    Ok(Form::Header(name, value))
}

fn wear(form: &Form, headers: &mut HeaderMap, target: PathAndQuery) -> Result<PathAndQuery, Reason> {
    match form {
        Form::Header(name, value) => {
            headers.insert(name, value.clone());
            Ok(target)
        }
        Form::Query(name, pair) => {
            let own = |given: &&str| !is_named(given, name);
            let kept = target.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()).filter(own);
            let query: Vec<&str> = kept.chain([pair.as_str()]).collect();
            PathAndQuery::try_from(format!("{}?{}", target.path(), query.join("&")))
                .map_err(|_| Reason::RequestMalformed)
        }
    }
}

/// Whether `NAME[=VALUE]` of a query, or one of several joined by `;`, has this name in any encoding and case.
fn is_named(given: &str, name: &str) -> bool {
    given.split(';').any(|pair| {
        let found = pair.split('=').next().unwrap_or_default().replace('+', " ");
        percent_decode_str(&found).decode_utf8_lossy().eq_ignore_ascii_case(name)
    })
}

/// Whether a header of the agent's goes before the request does: its own credential, where `carrier` brings ours.
pub(crate) fn is_replaced(name: &HeaderName, carrier: Option<&Carrier>) -> bool {
    if *name == header::PROXY_AUTHORIZATION {
        return true;
    }
    let Some(carrier) = carrier else { return false };
    let own = matches!(carrier, Carrier::Header(own) if own == name.as_str());
    own || CREDENTIALS.contains(name)
}

/// Whether clients carry credentials by a header of this name, or `carrier` carries ours by it; in small letters, with
/// `-` for `_`.
pub(crate) fn is_credential(plain: &str, carrier: Option<&Carrier>) -> bool {
    CREDENTIALS.iter().any(|name| *name == plain)
        || matches!(carrier, Some(Carrier::Header(own)) if own.to_ascii_lowercase().replace('_', "-") == plain)
}

/// Removes every header that the agent could make itself known by in the secret's place; `_` counts as `-`, as CGI and
/// its heirs read it.
fn strip_credentials(headers: &mut HeaderMap, carrier: &Carrier) {
    for name in CREDENTIALS {
        headers.remove(name);
    }
    if let Carrier::Header(name) = carrier {
        headers.remove(name.as_str());
    }
    if headers.keys().any(|name| name.as_str().contains('_')) {
        let own = |name: &HeaderName| is_credential(&name.as_str().replace('_', "-"), Some(carrier));
        let spelled: Vec<HeaderName> = headers.keys().filter(|name| own(name)).cloned().collect();
        for name in spelled {
            headers.remove(name);
        }
    }
}

/// Removes what is between the agent and the gate. `TE` may say `trailers`, which gRPC needs.
fn strip_request(headers: &mut HeaderMap, websocket: bool) {
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in [header::HOST, header::TE, header::EXPECT, header::CONTENT_LENGTH, header::PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::secret::Secret;

    fn form(carrier: Carrier, value: &str) -> Result<Form, Reason> {
        dress(&carrier, &Held { value: Secret::new(value.to_owned()), placeholder: Arc::from("P"), generation: 0 })
    }

    #[test]
    fn a_secret_is_worn_as_its_carrier_says() {
        let worn = |carrier, value: &str| {
            let mut headers = HeaderMap::new();
            wear(&form(carrier, value).unwrap(), &mut headers, PathAndQuery::from_static("/")).unwrap();
            headers
        };
        assert_eq!(worn(Carrier::Bearer, "v")["authorization"], "Bearer v");
        assert_eq!(worn(Carrier::Basic, "u:p")["authorization"], "Basic dTpw");
        assert_eq!(worn(Carrier::Header("x-api-key".to_owned()), "v")["x-api-key"], "v");
        assert!(worn(Carrier::Bearer, "v")["authorization"].is_sensitive());
        assert_eq!(form(Carrier::Bearer, "v\r\nx: y").err(), Some(Reason::SecretUnavailable));
    }

    #[test]
    fn the_agents_own_parameter_is_replaced_in_every_spelling() {
        let form = form(Carrier::Query("key".to_owned()), "a&b").unwrap();
        let worn = |target| wear(&form, &mut HeaderMap::new(), PathAndQuery::from_static(target)).unwrap().to_string();
        assert_eq!(worn("/x"), "/x?key=a%26b");
        assert_eq!(worn("/x?a=1&key=mine&b&%6Bey=mine&KEY&k=2;key=mine"), "/x?a=1&b&key=a%26b");
    }

    #[test]
    fn the_agents_own_credentials_go_whatever_they_are_called() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-api-key", "x_api_key", "x-mine", "x_mine", "accept"] {
            headers.insert(name, HeaderValue::from_static("mine"));
        }
        strip_credentials(&mut headers, &Carrier::Header("x-mine".to_owned()));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
