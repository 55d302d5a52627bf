//! Secrets and where they come from. A [`Secret`] never prints itself and is wiped when dropped.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};
use zeroize::Zeroizing;

/// Where a secret's value is found on the host: `env:NAME`, `file:PATH`, `command:SHELL LINE`, `keyring:SERVICE/ACCOUNT`,
/// `login:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    Env(String),
    File(PathBuf),
    /// Run by `/bin/sh -c` on the host; standard output less one trailing line break is the value.
    Command(String),
    Keyring {
        service: String,
        account: String,
    },
    /// A login that `bot-bottle login` took over: the access token, renewed for all bottles together.
    Login(String),
}

impl SecretRef {
    /// Whether reading it once more may bring another value.
    pub fn is_read_anew(&self) -> bool {
        match self {
            SecretRef::Command(_) | SecretRef::File(_) | SecretRef::Login(_) => true,
            SecretRef::Env(_) | SecretRef::Keyring { .. } => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefError {
    #[error(
        "a secret is named by where it comes from: env:NAME, file:PATH, command:LINE, keyring:SERVICE/ACCOUNT or \
         login:NAME"
    )]
    NoSource,
    #[error("`env:` takes a variable name of letters, digits and `_`")]
    BadVariable,
    #[error("`keyring:` takes SERVICE/ACCOUNT")]
    BadKeyring,
    #[error("`login:` takes a provider's name: letters, digits, `-` and `_`")]
    BadLogin,
    #[error("`{0}:` names nothing")]
    Empty(&'static str),
}

impl std::str::FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let (source, rest) = text.split_once(':').ok_or(SecretRefError::NoSource)?;
        match source {
            "env" => {
                let mut bytes = rest.bytes();
                let head = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
                let valid = head && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if valid { Ok(SecretRef::Env(rest.to_owned())) } else { Err(SecretRefError::BadVariable) }
            }
            "file" if rest.is_empty() => Err(SecretRefError::Empty("file")),
            "file" => Ok(SecretRef::File(PathBuf::from(rest))),
            "command" if rest.trim().is_empty() => Err(SecretRefError::Empty("command")),
            "command" => Ok(SecretRef::Command(rest.to_owned())),
            "keyring" => match rest.split_once('/') {
                Some((service, account)) if !service.is_empty() && !account.is_empty() => {
                    Ok(SecretRef::Keyring { service: service.to_owned(), account: account.to_owned() })
                }
                _ => Err(SecretRefError::BadKeyring),
            },
            "login" => {
                // It names a file.
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                let head = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
                let valid = head && rest.len() <= 63 && rest.bytes().all(plain);
                if valid { Ok(SecretRef::Login(rest.to_owned())) } else { Err(SecretRefError::BadLogin) }
            }
            _ => Err(SecretRefError::NoSource),
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = SecretRefError;

    fn try_from(text: String) -> Result<Self, SecretRefError> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(secret: SecretRef) -> String {
        secret.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Command(line) => write!(f, "command:{line}"),
            SecretRef::Keyring { service, account } => write!(f, "keyring:{service}/{account}"),
            SecretRef::Login(name) => write!(f, "login:{name}"),
        }
    }
}

/// A secret's value. `Debug` shows the length only; serialising is for the pipe to the gate, and
/// for canaries, which open nothing, in the state of their bottle.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(#[serde(with = "plain")] Zeroizing<String>);

impl Secret {
    pub fn new(value: String) -> Secret {
        Secret(Zeroizing::new(value))
    }

    /// The value itself. Every caller is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

mod plain {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(value: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_round_trip_and_bad_ones_say_why() {
        for text in ["env:TOKEN", "file:~/key", "command:gh auth token", "keyring:acme/bot", "login:claude"] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
        for text in [
            "TOKEN",
            "env:",
            "env:1A",
            "env:A B",
            "file:",
            "command: ",
            "keyring:acme",
            "vault:x",
            "login:",
            "login:../x",
        ] {
            assert!(text.parse::<SecretRef>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(7 bytes)");
    }
}
