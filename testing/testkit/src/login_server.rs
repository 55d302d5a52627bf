//! A stand-in for the authorization server of a subscription, and for the API that takes its tokens: refresh tokens are
//! good for one renewal, and one that is seen again ends the whole login, as with the real ones (RFC 9700, section
//! 4.14.2).

use crate::upstream::{Answer, Asked, Response, Seen, TlsUpstream, routes::json_answer};
use http::StatusCode;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What a token is taken for longer than it says, as clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// Two servers: one for tokens, in the clear on loopback, and one for the API, by TLS. Dropping it ends both.
#[derive(Debug)]
pub struct LoginServer {
    tokens: TlsUpstream,
    api: TlsUpstream,
    family: Arc<Mutex<Family>>,
}

/// What became of one login.
#[derive(Debug, Default)]
struct Family {
    lives: Duration,
    /// The one refresh token that is good.
    refresh: String,
    former: Vec<String>,
    /// Access tokens, each with its end.
    live: BTreeMap<String, Instant>,
    renewals: u64,
    refused: u64,
    served: u64,
    is_over: bool,
}

impl LoginServer {
    /// A login with tokens that live for so long. The API answers for `host`.
    pub fn start(host: &str, lives: Duration) -> LoginServer {
        let mut family = Family { lives, refresh: "refresh-of-generation-0".to_owned(), ..Family::default() };
        family.live.insert("access-of-generation-0".to_owned(), Instant::now() + lives + LEEWAY);
        let family = Arc::new(Mutex::new(family));
        let serve = |answer: fn(&mut Family, &Seen) -> Response| {
            let family = Arc::clone(&family);
            move |asked: Asked| {
                let family = Arc::clone(&family);
                let future: Answer = Box::pin(async move { answer(&mut lock(&family), &asked.seen) });
                future
            }
        };
        let tokens = TlsUpstream::options(&["localhost"]).plain().handler(Arc::new(serve(Family::token))).start();
        let api = TlsUpstream::options(&[host]).handler(Arc::new(serve(Family::api))).start();
        LoginServer { tokens, api, family }
    }

    /// Where tokens are renewed.
    pub fn token_url(&self) -> String {
        format!("http://{}/oauth/token", self.tokens.address())
    }

    pub fn api(&self) -> &TlsUpstream {
        &self.api
    }

    /// The tokens that are good now: for the API, and for the next renewal.
    pub fn tokens(&self) -> (String, String) {
        let family = lock(&self.family);
        (format!("access-of-generation-{}", family.renewals), family.refresh.clone())
    }

    /// What a client does that renews the login by itself.
    pub fn renew(&self) {
        lock(&self.family).renew();
    }

    /// Takes no access token any more that was given so far.
    pub fn expire(&self) {
        lock(&self.family).live.clear();
    }

    pub fn renewals(&self) -> u64 {
        lock(&self.family).renewals
    }

    /// How often a renewal was refused.
    pub fn refused(&self) -> u64 {
        lock(&self.family).refused
    }

    /// How many requests the API has answered with the right token.
    pub fn served(&self) -> u64 {
        lock(&self.family).served
    }
}

impl Family {
    fn renew(&mut self) -> Value {
        self.renewals += 1;
        let (access, refresh) =
            (format!("access-of-generation-{}", self.renewals), format!("refresh-of-generation-{}", self.renewals));
        self.former.push(std::mem::replace(&mut self.refresh, refresh.clone()));
        self.live.insert(access.clone(), Instant::now() + self.lives + LEEWAY);
        json!({
            "token_type": "Bearer", "access_token": access, "refresh_token": refresh,
            "expires_in": self.lives.as_secs_f64(), "id_token": format!("id-{}", self.renewals),
        })
    }

    fn token(&mut self, seen: &Seen) -> Response {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let token = asked["refresh_token"].as_str().unwrap_or_default();
        let is_right = seen.path() == "/oauth/token" && seen.method == "POST" && asked["grant_type"] == "refresh_token";
        if is_right && !self.is_over && token == self.refresh {
            return json_answer(StatusCode::OK, self.renew().to_string());
        }
        self.refused += 1;
        if self.former.iter().any(|former| former == token) {
            self.is_over = true;
            self.live.clear();
        }
        json_answer(StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant" }).to_string())
    }

    fn api(&mut self, seen: &Seen) -> Response {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if self.live.get(token).is_none_or(|end| *end < Instant::now()) {
            return json_answer(StatusCode::UNAUTHORIZED, json!({ "error": "invalid_token" }).to_string());
        }
        self.served += 1;
        json_answer(StatusCode::OK, json!({ "renewals": self.renewals, "echo": token }).to_string())
    }
}

fn lock(family: &Mutex<Family>) -> MutexGuard<'_, Family> {
    family.lock().unwrap_or_else(PoisonError::into_inner)
}
