//! Who may use the page: one-time tokens, and what they are given for.
//!
//! Two things make a session. The *cookie* is sent by the browser, but to every server of this host, whatever its port,
//! and along with requests that other pages cause; the *key* is known to the page alone, which sends it in a header that
//! no form can set. Only both together are one.
//!
//! Invariants: of tokens, cookies and keys only hashes are kept, and compared in constant time; a token works once and
//! not for long.

use sha2::{Digest as _, Sha256};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long a token waits for somebody to come by it.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
/// Sessions at once; the oldest makes room.
const SESSIONS: usize = 8;
/// Bytes of what is drawn.
const DRAWN: usize = 32;

type Hash = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct Sessions {
    invited: Option<(Hash, Instant)>,
    /// Oldest first.
    open: VecDeque<Session>,
}

#[derive(Debug)]
struct Session {
    cookie: Hash,
    key: Hash,
}

/// What a token was given for, in hex.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) cookie: String,
    pub(super) key: String,
}

impl Sessions {
    /// A new token, in hex; the one before works no more.
    pub(super) fn invite(&mut self) -> Result<String, getrandom::Error> {
        let token = drawn()?;
        self.invited = Some((hash(&token), Instant::now()));
        Ok(token)
    }

    /// Takes a token, which is void then; `None` where it is not the one.
    pub(super) fn admit(&mut self, token: &str) -> Result<Option<Admitted>, getrandom::Error> {
        let Some((expected, since)) = &self.invited else { return Ok(None) };
        if !same(expected, &hash(token)) || since.elapsed() > TOKEN_LIFE {
            return Ok(None);
        }
        self.invited = None;
        let admitted = Admitted { cookie: drawn()?, key: drawn()? };
        if self.open.len() >= SESSIONS {
            self.open.pop_front();
        }
        self.open.push_back(Session { cookie: hash(&admitted.cookie), key: hash(&admitted.key) });
        Ok(Some(admitted))
    }

    pub(super) fn has_cookie(&self, cookie: &str) -> bool {
        let cookie = hash(cookie);
        self.open.iter().fold(false, |found, session| found | same(&session.cookie, &cookie))
    }

    /// Whether cookie and key are of one session.
    pub(super) fn has(&self, cookie: &str, key: &str) -> bool {
        let (cookie, key) = (hash(cookie), hash(key));
        let is = |session: &Session| same(&session.cookie, &cookie) & same(&session.key, &key);
        self.open.iter().fold(false, |found, session| found | is(session))
    }
}

fn drawn() -> Result<String, getrandom::Error> {
    let mut bytes = [0; DRAWN];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

/// In a time that does not tell where they differ.
fn same(one: &Hash, other: &Hash) -> bool {
    one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_once_and_the_newest_alone() {
        let mut sessions = Sessions::default();
        let old = sessions.invite().unwrap();
        let token = sessions.invite().unwrap();
        assert!(sessions.admit(&old).unwrap().is_none());
        assert!(sessions.admit("").unwrap().is_none());
        let admitted = sessions.admit(&token).unwrap().unwrap();
        assert!(sessions.admit(&token).unwrap().is_none());
        assert!(sessions.has(&admitted.cookie, &admitted.key) && sessions.has_cookie(&admitted.cookie));
        assert!(!sessions.has(&admitted.cookie, &admitted.cookie) && !sessions.has(&admitted.key, &admitted.key));
    }

    #[test]
    fn a_token_that_nobody_used_is_over_after_a_while() {
        let mut sessions = Sessions::default();
        let token = sessions.invite().unwrap();
        let Some((_, since)) = &mut sessions.invited else { panic!("no token") };
        *since = since.checked_sub(TOKEN_LIFE + Duration::from_secs(1)).unwrap();
        assert!(sessions.admit(&token).unwrap().is_none());
    }

    #[test]
    fn the_key_of_one_session_does_not_go_with_the_cookie_of_another_and_old_ones_end() {
        let mut sessions = Sessions::default();
        let mut admitted = Vec::new();
        for _ in 0..=SESSIONS {
            let token = sessions.invite().unwrap();
            admitted.push(sessions.admit(&token).unwrap().unwrap());
        }
        assert!(!sessions.has(&admitted[1].cookie, &admitted[2].key));
        assert!(!sessions.has_cookie(&admitted[0].cookie), "the oldest made room");
        assert!(sessions.has(&admitted[SESSIONS].cookie, &admitted[SESSIONS].key));
    }
}
