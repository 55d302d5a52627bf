//! What a client asks for first: the request line of `git://` (gitprotocol-pack) and the targets of smart HTTP
//! (gitprotocol-http).
//!
//! Invariant: what comes out names a service that we have, and a repository by one plain word; nothing of a path goes
//! on to the file system.

/// Longer requests are refused: the name of a repository is short.
pub const MAX_REQUEST: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    UploadPack,
    ReceivePack,
}

impl Service {
    pub fn as_str(self) -> &'static str {
        match self {
            Service::UploadPack => "git-upload-pack",
            Service::ReceivePack => "git-receive-pack",
        }
    }

    /// As clients name it.
    pub fn parse(text: &str) -> Option<Service> {
        [Service::UploadPack, Service::ReceivePack].into_iter().find(|service| service.as_str() == text)
    }
}

/// A request at the git door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub service: Service,
    pub asked: Asked,
    /// The protocol that the client would rather speak.
    pub version: u8,
}

/// Which repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Name(String),
    /// No name that we could have: as it was written, at most 200 characters of it.
    Other(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("this is no request of git")]
    Malformed,
    #[error("the git gate serves fetch and push, and nothing else")]
    Service,
}

impl Request {
    /// The bytes of the first pkt-line of `git://`: `git-upload-pack /name\0host=…\0\0version=2\0`.
    pub fn parse(line: &[u8]) -> Result<Request, RequestError> {
        if line.len() > MAX_REQUEST {
            return Err(RequestError::Malformed);
        }
        let text = std::str::from_utf8(line).map_err(|_| RequestError::Malformed)?;
        let (command, rest) = text.split_once('\0').unwrap_or((text.strip_suffix('\n').unwrap_or(text), ""));
        let (service, path) = command.split_once(' ').ok_or(RequestError::Malformed)?;
        let service = Service::parse(service).ok_or(RequestError::Service)?;
        // host=…\0, then after another \0 the extra parameters.
        let extra = rest.split_once("\0\0").map_or("", |(_, extra)| extra);
        Ok(Request { service, asked: Asked::of_path(path), version: version(extra.split('\0')) })
    }
}

/// Of `GIT_PROTOCOL` or `Git-Protocol`: the highest version that we know.
pub fn version<'a>(parameters: impl Iterator<Item = &'a str>) -> u8 {
    let versions = parameters.filter_map(|parameter| parameter.strip_prefix("version=")?.parse::<u8>().ok());
    versions.filter(|version| *version <= 2).max().unwrap_or(0)
}

impl Asked {
    /// A path of the door: `/name`, with or without `/` or `.git` behind it. Names that `insteadOf` made end in `/` or
    /// `/.git`.
    pub fn of_path(path: &str) -> Asked {
        let rest = path.strip_prefix('/').unwrap_or(path);
        let name = rest.strip_suffix('/').unwrap_or(rest);
        let name = name.strip_suffix(".git").unwrap_or(name);
        let name = name.strip_suffix('/').unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if first && name.len() <= 63 && name.chars().all(plain) {
            Asked::Name(name.to_owned())
        } else {
            Asked::Other(rest.chars().take(200).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_of_the_git_protocol() {
        let parse = Request::parse;
        let request = parse(b"git-upload-pack /app\0host=127.0.0.1:9418\0\0version=2\0").unwrap();
        assert_eq!(request.service, Service::UploadPack);
        assert_eq!((request.asked, request.version), (Asked::Name("app".to_owned()), 2));
        let request = parse(b"git-receive-pack /app/.git\0host=x\0").unwrap();
        assert_eq!((request.service, request.version), (Service::ReceivePack, 0));
        assert_eq!(request.asked, Asked::Name("app".to_owned()));
        assert_eq!(parse(b"git-upload-archive /app\0"), Err(RequestError::Service));
        assert_eq!(parse(b"git-upload-pack"), Err(RequestError::Malformed));
        assert_eq!(parse(b"\xff /app\0"), Err(RequestError::Malformed));
        assert_eq!(parse(&[b'a'; MAX_REQUEST + 1]), Err(RequestError::Malformed));
        assert_eq!(parse(b"git-upload-pack /app\0host=x\0\0version=9\0").unwrap().version, 0);
    }

    #[test]
    fn names_of_repositories() {
        for path in ["/app", "app", "/app/", "/app.git", "/app.git/", "/app/.git"] {
            assert_eq!(Asked::of_path(path), Asked::Name("app".to_owned()), "{path}");
        }
        for path in
            ["", "/", "/..", "/../app", "/app/..", "/app/-two", "/a/b", "/-app", "/app\n", "/~root", "//app", "/%61pp"]
        {
            assert!(matches!(Asked::of_path(path), Asked::Other(_)), "{path:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_a_plain_word(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let line = [b"git-upload-pack ".as_slice(), &bytes].concat();
            if let Ok(Request { asked: Asked::Name(name), .. }) = Request::parse(&line) {
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
                prop_assert!(!name.starts_with('-') && !name.is_empty());
            }
        }
    }
}
