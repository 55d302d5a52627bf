//! Whether a request to the page comes from the page.
//!
//! Invariant: what is not known to be right is refused: another `Host` (a name that an attacker points at this machine),
//! another origin, a request that another site caused, a method or target that there is none of.

use super::session::Sessions;
use http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts};

/// The page's own header; a form cannot set it, and a script of another origin may not.
pub(super) static KEY: HeaderName = HeaderName::from_static("x-bot-bottle-key");
static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// By a token.
    Enter(String),
    Page,
    Script,
    Style,
    News,
    Answer,
    Freeze,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Origin,
    Method,
    Target,
    Session,
    Key,
    Media,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::Host => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Origin | Refusal::Key => StatusCode::FORBIDDEN,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Target => StatusCode::NOT_FOUND,
            Refusal::Session => StatusCode::UNAUTHORIZED,
            Refusal::Media => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Host => "this is not the host that the page was asked for under",
            Refusal::Origin => "this was caused by another page",
            Refusal::Method => "there is no such method here",
            Refusal::Target => "there is no such thing here",
            Refusal::Session => {
                "this page needs a session: open the URL that `bot-bottle dashboard --web` printed. It works once; press \
                 enter there for another one."
            }
            Refusal::Key => "the key of the page is missing or wrong; open a new URL",
            Refusal::Media => "this takes application/json",
        }
    }
}

/// What the request may have.
pub(super) fn admit(head: &Parts, port: u16, sessions: &Sessions) -> Result<Asked, Refusal> {
    if !is_own_host(head, port) {
        return Err(Refusal::Host);
    }
    let asked = asked(head)?;
    is_own_page(head, port, &asked)?;
    let cookie = cookie(&head.headers, port);
    match asked {
        Asked::Enter(_) => {}
        Asked::Page | Asked::Script | Asked::Style => {
            if !cookie.is_some_and(|cookie| sessions.has_cookie(cookie)) {
                return Err(Refusal::Session);
            }
        }
        Asked::News | Asked::Answer | Asked::Freeze => {
            let cookie = cookie.filter(|cookie| sessions.has_cookie(cookie)).ok_or(Refusal::Session)?;
            let key = one(&head.headers, &KEY).ok_or(Refusal::Key)?;
            if !sessions.has(cookie, key) {
                return Err(Refusal::Key);
            }
        }
    }
    if head.method == Method::POST && one(&head.headers, &header::CONTENT_TYPE) != Some("application/json") {
        return Err(Refusal::Media);
    }
    Ok(asked)
}

/// The name of the cookie; of the port, for cookies know none.
pub(super) fn cookie_name(port: u16) -> String {
    format!("bot-bottle-{port}")
}

fn asked(head: &Parts) -> Result<Asked, Refusal> {
    let (asked, method) = match (head.uri.path(), head.uri.query()) {
        ("/", None) => (Asked::Page, Method::GET),
        ("/", Some(query)) => {
            let token = query.strip_prefix("token=").ok_or(Refusal::Target)?;
            (Asked::Enter(token.to_owned()), Method::GET)
        }
        ("/page.js", None) => (Asked::Script, Method::GET),
        ("/style.css", None) => (Asked::Style, Method::GET),
        ("/news", None) => (Asked::News, Method::GET),
        ("/answer", None) => (Asked::Answer, Method::POST),
        ("/freeze", None) => (Asked::Freeze, Method::POST),
        _ => return Err(Refusal::Target),
    };
    if head.method == method { Ok(asked) } else { Err(Refusal::Method) }
}

/// By `Host` alone: a target in absolute form is no page's.
fn is_own_host(head: &Parts, port: u16) -> bool {
    let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    head.uri.authority().is_none()
        && one(&head.headers, &header::HOST).is_some_and(|host| own.iter().any(|own| own == host))
}

/// A browser says of what a page sends where it comes from; of what a person opens, that it comes from nowhere.
fn is_own_page(head: &Parts, port: u16, asked: &Asked) -> Result<(), Refusal> {
    let is_opened = matches!(asked, Asked::Enter(_) | Asked::Page);
    if head.headers.contains_key(&SITE) {
        // A link on another page may lead here, with a token only.
        match one(&head.headers, &SITE) {
            Some("same-origin") => {}
            Some("none") if is_opened => {}
            Some(_) if matches!(asked, Asked::Enter(_)) => {}
            _ => return Err(Refusal::Origin),
        }
    }
    if !head.headers.contains_key(header::ORIGIN) {
        return if head.method == Method::POST { Err(Refusal::Origin) } else { Ok(()) };
    }
    let own = [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    // The host that was asked is the one that the page is of.
    let host = one(&head.headers, &header::HOST).map(|host| format!("http://{host}"));
    match one(&head.headers, &header::ORIGIN) {
        Some(origin) if own.iter().any(|own| own == origin) && host.as_deref() == Some(origin) => Ok(()),
        _ => Err(Refusal::Origin),
    }
}

fn cookie(headers: &HeaderMap, port: u16) -> Option<&str> {
    let name = cookie_name(port);
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The value of a header that stands once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const PORT: u16 = 4711;

    /// Headers that are others than the page's.
    type Otherwise<'a> = &'a [(&'a str, &'a str)];

    struct Case {
        sessions: Sessions,
        cookie: String,
        key: String,
    }

    impl Case {
        fn new() -> Case {
            let mut sessions = Sessions::default();
            let token = sessions.invite().unwrap();
            let admitted = sessions.admit(&token).unwrap().unwrap();
            Case { sessions, cookie: format!("{}={}", cookie_name(PORT), admitted.cookie), key: admitted.key }
        }

        /// What the page sends, with some of it otherwise (empty = left out).
        fn send(&self, method: &str, target: &str, otherwise: &[(&str, &str)]) -> Result<Asked, Refusal> {
            let mut headers = vec![
                ("host", "127.0.0.1:4711"),
                ("cookie", self.cookie.as_str()),
                ("x-bot-bottle-key", self.key.as_str()),
                ("origin", "http://127.0.0.1:4711"),
                ("sec-fetch-site", "same-origin"),
                ("content-type", "application/json"),
            ];
            headers.retain(|(name, _)| !otherwise.iter().any(|(other, _)| other == name));
            headers.extend(otherwise.iter().filter(|(_, value)| !value.is_empty()));
            let request = Request::builder().method(method).uri(target);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            admit(&request.body(()).unwrap().into_parts().0, PORT, &self.sessions)
        }
    }

    #[test]
    fn what_the_page_sends_is_taken() {
        let case = Case::new();
        assert_eq!(case.send("POST", "/answer", &[]), Ok(Asked::Answer));
        assert_eq!(case.send("POST", "/freeze", &[("sec-fetch-site", "")]), Ok(Asked::Freeze));
        assert_eq!(case.send("GET", "/news", &[("origin", "")]), Ok(Asked::News));
        let local = [("host", "localhost:4711"), ("origin", "http://localhost:4711")];
        assert_eq!(case.send("POST", "/answer", &local), Ok(Asked::Answer));
        let opened = [("origin", ""), ("sec-fetch-site", "none"), ("x-bot-bottle-key", "")];
        assert_eq!(case.send("GET", "/", &opened), Ok(Asked::Page));
        assert_eq!(case.send("GET", "/?token=x", &opened), Ok(Asked::Enter("x".to_owned())));
    }

    #[test]
    fn what_another_sends_is_refused() {
        let case = Case::new();
        let stranger = Case::new();
        let foreign: &[(&str, &str, Otherwise<'_>, Refusal)] = &[
            // A name that somebody else points at 127.0.0.1.
            ("GET", "/", &[("host", "evil.test:4711")], Refusal::Host),
            ("GET", "/", &[("host", "127.0.0.1")], Refusal::Host),
            ("GET", "/", &[("host", "127.0.0.1:4712")], Refusal::Host),
            ("GET", "/", &[("host", "")], Refusal::Host),
            ("GET", "http://127.0.0.1:4711/", &[], Refusal::Host),
            ("POST", "/answer", &[("origin", "http://evil.test")], Refusal::Origin),
            ("POST", "/answer", &[("origin", "http://127.0.0.1:4712")], Refusal::Origin),
            ("POST", "/answer", &[("origin", "http://localhost:4711")], Refusal::Origin),
            ("POST", "/answer", &[("origin", "null")], Refusal::Origin),
            ("POST", "/answer", &[("origin", "")], Refusal::Origin),
            ("POST", "/answer", &[("sec-fetch-site", "cross-site")], Refusal::Origin),
            ("POST", "/answer", &[("sec-fetch-site", "same-site")], Refusal::Origin),
            ("GET", "/news", &[("sec-fetch-site", "none")], Refusal::Origin),
            ("GET", "/", &[("sec-fetch-site", "cross-site")], Refusal::Origin),
            ("POST", "/answer", &[("cookie", "")], Refusal::Session),
            ("POST", "/answer", &[("cookie", "bot-bottle-4711=x")], Refusal::Session),
            ("POST", "/answer", &[("cookie", &stranger.cookie)], Refusal::Session),
            // With the cookie alone, as another page's form or another server of this host would have it.
            ("POST", "/answer", &[("x-bot-bottle-key", "")], Refusal::Key),
            ("POST", "/answer", &[("x-bot-bottle-key", &stranger.key)], Refusal::Key),
            ("POST", "/answer", &[("content-type", "application/x-www-form-urlencoded")], Refusal::Media),
            ("POST", "/answer", &[("content-type", "text/plain")], Refusal::Media),
            ("GET", "/answer", &[], Refusal::Method),
            ("HEAD", "/", &[], Refusal::Method),
            ("POST", "/", &[], Refusal::Method),
            ("GET", "/page.js", &[("cookie", "")], Refusal::Session),
            ("GET", "/../etc/passwd", &[], Refusal::Target),
            ("GET", "/?x=y", &[], Refusal::Target),
            ("GET", "/news?token=x", &[], Refusal::Target),
        ];
        for (method, target, otherwise, refusal) in foreign {
            assert_eq!(case.send(method, target, otherwise), Err(*refusal), "{method} {target} {otherwise:?}");
        }
    }

    #[test]
    fn a_header_that_stands_twice_is_none() {
        let case = Case::new();
        let twice = [("host", "127.0.0.1:4711"), ("host", "evil.test")];
        assert_eq!(case.send("GET", "/", &twice), Err(Refusal::Host));
        let twice = [("origin", "http://127.0.0.1:4711"), ("origin", "http://evil.test")];
        assert_eq!(case.send("POST", "/answer", &twice), Err(Refusal::Origin));
    }
}
