//! The scanner of one bottle, made of what must not leave it: the vault's secrets and the canaries.
//!
//! Invariant: a secret that was renewed is known from the request after its renewal on, and its former value too.

use crate::vault::Vault;
use arc_swap::ArcSwapOption;
use bottle_policy::scan::{Known, Scanner};
use bottle_spec::gate_link::HeldCanary;
use std::sync::Arc;

/// Made with the first request; an idle gate pays nothing.
pub(crate) struct Knowledge {
    canaries: Vec<HeldCanary>,
    made: ArcSwapOption<Made>,
}

struct Made {
    /// Of the vault, before it was read.
    renewals: u64,
    scanner: Arc<Scanner>,
}

impl Knowledge {
    pub(crate) fn new(canaries: Vec<HeldCanary>) -> Knowledge {
        Knowledge { canaries, made: ArcSwapOption::empty() }
    }

    pub(crate) fn scanner(&self, vault: &Vault) -> Arc<Scanner> {
        let renewals = vault.renewals();
        let made = self.made.load();
        if let Some(made) = made.as_ref().filter(|made| made.renewals == renewals) {
            return Arc::clone(&made.scanner);
        }
        let mut known = Known::builder();
        for (source, value) in vault.values() {
            known = known.secret(source.to_string(), value.expose().as_bytes());
        }
        for canary in &self.canaries {
            known = known.canary(canary.name.as_str(), canary.value.expose().as_bytes());
        }
        let scanner = Arc::new(Scanner::new(known.build()));
        self.made.store(Some(Arc::new(Made { renewals, scanner: Arc::clone(&scanner) })));
        scanner
    }
}

impl std::fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Knowledge({} canaries)", self.canaries.len())
    }
}
