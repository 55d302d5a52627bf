//! False credentials for a bottle's home: whoever looks for some finds these, and is found out when one leaves.
//!
//! Invariant: they are well-formed down to checksum and key pair, drawn anew for each bottle, and open nothing. No tool
//! sends one of itself: the AWS profile is not the default one, the host of the GitHub token exists nowhere, and of an
//! SSH key only the public half ever leaves a client.

use base64::{Engine, engine::general_purpose::STANDARD};
use bottle_spec::{
    gate_link::{Decoy, HeldCanary},
    secret::Secret,
};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum DecoyError {
    #[error("the system gives no random bytes")]
    Random,
    #[error("no key pair could be made")]
    Key,
}

/// Files below the home, in no directory but `.aws` and `.ssh`.
pub fn make() -> Result<Vec<Decoy>, DecoyError> {
    Ok(vec![aws()?, github()?, ssh()?])
}

fn canary(name: &str, value: &str) -> HeldCanary {
    HeldCanary { name: name.to_owned(), value: Secret::new(value.to_owned()) }
}

fn aws() -> Result<Decoy, DecoyError> {
    const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    // The first letters hold the account's number: within its twelve digits, and as accounts have them now.
    let id = format!("AKIA{}{}", letters(1, b"QRSTUVWX")?, letters(15, BASE32)?);
    let secret = STANDARD.encode(random::<30>()?);
    let text =
        format!("[production]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\nregion = eu-central-1\n");
    Ok(Decoy {
        path: ".aws/credentials".to_owned(),
        text: Secret::new(text),
        canaries: vec![canary("AWS access key", &id), canary("AWS secret access key", &secret)],
    })
}

fn github() -> Result<Decoy, DecoyError> {
    let random = letters(30, BASE62)?;
    let token = format!("ghp_{random}{}", checksum(random.as_bytes()));
    Ok(Decoy {
        path: ".git-credentials".to_owned(),
        text: Secret::new(format!("https://deploy:{token}@github.corp.internal\n")),
        canaries: vec![canary("GitHub token", &token)],
    })
}

/// An Ed25519 key as `ssh-keygen` writes it (OpenSSH's PROTOCOL.key).
fn ssh() -> Result<Decoy, DecoyError> {
    let (seed, check) = (random::<32>()?, random::<4>()?);
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| DecoyError::Key)?;
    let public = pair.public_key().as_ref();
    let kind = string(b"ssh-ed25519");
    let blob = joined(&[&kind, &string(public)]);
    let both = joined(&[&*seed, public]);
    let mut private = joined(&[&*check, &*check, &kind, &string(public), &string(&both), &string(b"deploy@build")]);
    let padding = (1..8).take((8 - private.len() % 8) % 8);
    private.extend(padding);
    let none = string(b"none");
    let one = 1u32.to_be_bytes();
    let whole = joined(&[b"openssh-key-v1\0", &none, &none, &string(b""), &one, &string(&blob), &string(&private)]);
    let encoded = Zeroizing::new(STANDARD.encode(&*whole));
    let lines: Vec<&str> = encoded.as_bytes().chunks(70).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let (begin, end) = (["-----BEGIN OPENSSH ", "PRIVATE KEY-----"], ["-----END OPENSSH ", "PRIVATE KEY-----"]);
    let text = format!("{}\n{}\n{}\n", begin.concat(), lines.join("\n"), end.concat());
    // All of the seed stands in the fourth line, and nothing that keys have in common.
    let line = lines.get(3).ok_or(DecoyError::Key)?;
    Ok(Decoy {
        path: ".ssh/id_ed25519".to_owned(),
        text: Secret::new(text),
        canaries: vec![canary("SSH private key", line)],
    })
}

/// RFC 4251, section 5.
fn string(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
    joined(&[&length, bytes])
}

fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(parts.concat())
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The CRC-32 of what stands before it, in base 62: how GitHub's tokens end.
fn checksum(bytes: &[u8]) -> String {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    let mut left = !sum;
    let mut digits = [0u8; 6];
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(left % 62).ok().and_then(|at| BASE62.get(at)).copied().unwrap_or(b'0');
        left /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, DecoyError> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| DecoyError::Random)?;
    Ok(bytes)
}

/// Each as likely as any other.
fn letters(count: usize, alphabet: &[u8]) -> Result<String, DecoyError> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let bytes = random::<64>()?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let drawn = drawn.filter_map(|byte| alphabet.get(byte % alphabet.len())).map(|letter| char::from(*letter));
        text.extend(drawn.take(count - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_policy::scan::{Known, Place, Scanner};
    use std::{os::unix::fs::PermissionsExt, process::Command};

    fn text(decoys: &[Decoy], path: &str) -> String {
        decoys.iter().find(|decoy| decoy.path == path).unwrap().text.expose().to_owned()
    }

    #[test]
    fn a_thief_takes_them_for_real() {
        let decoys = make().unwrap();
        // The rules that know the forms, checksums included.
        let scanner = Scanner::new(Known::default());
        let rules = |path: &str| {
            let found = scanner.piece(Place::Body, text(&decoys, path).as_bytes());
            found.into_iter().map(|finding| finding.rule).collect::<Vec<_>>()
        };
        assert!(
            rules(".git-credentials").iter().any(|rule| rule.contains("github")),
            "{:?}",
            rules(".git-credentials")
        );
        assert!(rules(".aws/credentials").iter().any(|rule| rule.contains("aws")), "{:?}", rules(".aws/credentials"));
        // And OpenSSH itself.
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, text(&decoys, ".ssh/id_ed25519")).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        // Where there is no OpenSSH, the rest has to do.
        if let Ok(output) = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(&key).output() {
            let public = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(public.starts_with("ssh-ed25519 AAAA") && public.ends_with("deploy@build\n"), "{output:?}");
        }
    }

    #[test]
    fn each_bottle_has_its_own_and_all_of_them_are_watched() {
        let (one, other) = (make().unwrap(), make().unwrap());
        for (one, other) in one.iter().zip(&other) {
            assert!(!one.canaries.is_empty());
            for canary in &one.canaries {
                assert!(one.text.expose().contains(canary.value.expose()), "{}", canary.name);
                assert!(!other.text.expose().contains(canary.value.expose()), "{}", canary.name);
                assert!(canary.value.expose().len() >= 20);
            }
            assert!(!format!("{one:?}").contains(one.canaries[0].value.expose()));
        }
    }
}
