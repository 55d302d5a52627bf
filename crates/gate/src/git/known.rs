//! The scanner of what is pushed: it knows every secret of the bottle, whether it is for git or not, as it is now and as
//! it was before.
//!
//! Invariant: a scanner that is asked for after a secret was renewed knows the new value.

use crate::vault::Vault;
use bottle_policy::scan::{Known, Scanner};
use bottle_spec::gate_link::HeldCanary;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Searching {
    vault: Vault,
    canaries: Vec<HeldCanary>,
    /// With the count of renewals that it was made at.
    made: Mutex<Option<(u64, Arc<Scanner>)>>,
}

impl Searching {
    pub(crate) fn new(vault: Vault, canaries: Vec<HeldCanary>) -> Searching {
        Searching { vault, canaries, made: Mutex::default() }
    }

    pub(crate) fn scanner(&self) -> Arc<Scanner> {
        // Before the values: one that is renewed in between makes the next scanner anew.
        let renewals = self.vault.renewals();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, scanner)) if *at == renewals => Arc::clone(scanner),
            _ => {
                let scanner = Arc::new(self.make());
                *made = Some((renewals, Arc::clone(&scanner)));
                scanner
            }
        }
    }

    fn make(&self) -> Scanner {
        let mut known = Known::builder();
        for (source, value) in self.vault.values() {
            known = known.secret(source.to_string(), value.expose().as_bytes());
        }
        for canary in &self.canaries {
            known = known.canary(canary.name.as_str(), canary.value.expose().as_bytes());
        }
        Scanner::new(known.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_policy::scan::Place;
    use bottle_spec::{gate_link::HeldSecret, secret::Secret};

    #[test]
    fn a_renewed_secret_is_known_and_so_is_the_former_one() {
        let held = |value: &str| Secret::new(value.to_owned());
        let source: bottle_spec::secret::SecretRef = "command:token".parse().unwrap();
        let secret = HeldSecret {
            source: source.clone(),
            value: held("the-first-of-both-81f3"),
            placeholder: "p".into(),
            until: None,
        };
        let (keeper, _questions) = tokio::sync::mpsc::unbounded_channel();
        let searching = Searching::new(Vault::new(vec![secret], keeper), Vec::new());
        let finds = |text: &str| !searching.scanner().piece(Place::Name, text.as_bytes()).is_empty();
        assert!(finds("the-first-of-both-81f3") && !finds("the-second-of-both-27c9"));
        searching.vault.deliver(&source, Ok(held("the-second-of-both-27c9")));
        assert!(finds("the-first-of-both-81f3") && finds("the-second-of-both-27c9"));
    }
}
