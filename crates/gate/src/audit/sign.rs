//! Who vouches for a log: the user's key for the key of one run, and that key for the records up to a checkpoint.
//!
//! Invariant: nothing is signed that could be read as something else: each text begins with a line of its own and has
//! one field a line, none of which can hold a line break.

use bottle_spec::{event::Checkpoint, gate_link::AuditKey, secret::Secret, slug::Slug};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use std::fmt;

const SEED: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no random numbers could be had")]
    Random,
    #[error("the key that signs audit logs is damaged")]
    Damaged,
}

/// Makes a key for one run of a bottle, with the user's signature under it. `seed` is the user's own, in hex.
pub fn certify(seed: &Secret, bottle: &Slug) -> Result<AuditKey, KeyError> {
    let user = pair(seed)?;
    let mut fresh = [0; SEED];
    SystemRandom::new().fill(&mut fresh).map_err(|_| KeyError::Random)?;
    let seed = Secret::new(hex(&fresh));
    let key = hex(pair(&seed)?.public_key().as_ref());
    let certificate = hex(user.sign(certified(bottle.as_str(), &key).as_bytes()).as_ref());
    Ok(AuditKey { seed, signer: hex(user.public_key().as_ref()), certificate })
}

/// The public half of a user's key, in hex.
pub fn public_key(seed: &Secret) -> Result<String, KeyError> {
    Ok(hex(pair(seed)?.public_key().as_ref()))
}

/// Signs `message` with the key of this seed; the signature in hex.
pub fn sign(seed: &Secret, message: &[u8]) -> Result<String, KeyError> {
    Ok(hex(pair(seed)?.sign(message).as_ref()))
}

fn pair(seed: &Secret) -> Result<Ed25519KeyPair, KeyError> {
    let seed = zeroize::Zeroizing::new(unhex(seed.expose()).ok_or(KeyError::Damaged)?);
    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Damaged)
}

/// Signs the checkpoints of one run.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: String,
    signer: String,
    certificate: String,
}

impl Signer {
    pub fn new(key: &AuditKey) -> Result<Signer, KeyError> {
        let pair = pair(&key.seed)?;
        let public = hex(pair.public_key().as_ref());
        Ok(Signer { pair, key: public, signer: key.signer.clone(), certificate: key.certificate.clone() })
    }

    /// The checkpoint that is record `seq` behind the record of hash `prev`.
    pub(super) fn checkpoint(&self, bottle: &str, seq: u64, time: u64, prev: &str) -> Checkpoint {
        let signature = self.pair.sign(stated(bottle, seq, time, prev).as_bytes());
        Checkpoint {
            key: self.key.clone(),
            signer: self.signer.clone(),
            certificate: self.certificate.clone(),
            signature: hex(signature.as_ref()),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Whether both signatures of a checkpoint hold where it stands.
pub(super) fn check(
    checkpoint: &Checkpoint,
    bottle: &str,
    seq: u64,
    time: u64,
    prev: &str,
) -> Result<(), &'static str> {
    let Checkpoint { key, signer, certificate, signature } = checkpoint;
    if !holds(signer, &certified(bottle, key), certificate) {
        return Err("its key is not vouched for by the user's");
    }
    if !holds(key, &stated(bottle, seq, time, prev), signature) {
        return Err("its signature does not hold");
    }
    Ok(())
}

fn holds(key: &str, text: &str, signature: &str) -> bool {
    let (Some(key), Some(signature)) = (unhex(key), unhex(signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature).is_ok()
}

fn certified(bottle: &str, key: &str) -> String {
    format!("bot-bottle audit key v1\n{bottle}\n{key}\n")
}

fn stated(bottle: &str, seq: u64, time: u64, prev: &str) -> String {
    format!("bot-bottle audit checkpoint v1\n{bottle}\n{seq}\n{time}\n{prev}\n")
}

/// Two digits for each byte; twice per request, so not by the machinery of `fmt`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let mut text = String::with_capacity(2 * bytes.len());
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn keys_and_signatures_are_those_of_the_standard() {
        let seed = Secret::new("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb".to_owned());
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(public_key(&seed).unwrap(), public);
        assert!(sign(&seed, &[0x72]).unwrap().starts_with("92a009a9f0d4cab8720e820b5f642540"));
        for damaged in ["", "4ccd", "zz", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6f"] {
            assert!(public_key(&Secret::new(damaged.to_owned())).is_err(), "{damaged}");
        }
    }

    #[test]
    fn a_checkpoint_holds_at_its_place_and_nowhere_else() {
        let seed = Secret::new("11".repeat(32));
        let bottle: Slug = "tester-abcde".parse().unwrap();
        let key = certify(&seed, &bottle).unwrap();
        let good = Signer::new(&key).unwrap().checkpoint("tester-abcde", 7, 1000, "aa");
        assert_eq!(good.signer, public_key(&seed).unwrap());
        check(&good, "tester-abcde", 7, 1000, "aa").unwrap();
        for (bottle, seq, time, prev) in [
            ("tester-zzzzz", 7, 1000, "aa"),
            ("tester-abcde", 8, 1000, "aa"),
            ("tester-abcde", 7, 1001, "aa"),
            ("tester-abcde", 7, 1000, "ab"),
        ] {
            assert!(check(&good, bottle, seq, time, prev).is_err(), "{bottle} {seq} {time} {prev}");
        }
        // A key that the user never saw, under the user's name.
        let own = AuditKey { seed: Secret::new("22".repeat(32)), ..key };
        let forged = Signer::new(&own).unwrap().checkpoint("tester-abcde", 7, 1000, "aa");
        assert!(check(&forged, "tester-abcde", 7, 1000, "aa").is_err());
        assert!(!format!("{own:?}").contains("2222"));
    }
}
