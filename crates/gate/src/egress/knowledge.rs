//! The scanner of one bottle, made of what must not leave it: the vault's secrets and the canaries.
//!
//! Invariant: a secret that was renewed is known from the request after its renewal on, and its former value too.

use crate::vault::Vault;
use arc_swap::ArcSwapOption;
use bottle_policy::{
    fragments::Fragments,
    scan::{Known, Scanner},
};
use bottle_spec::gate_link::HeldCanary;
use std::sync::{Arc, Mutex};

/// Made with the first request; an idle gate pays nothing.
pub(crate) struct Knowledge {
    canaries: Vec<HeldCanary>,
    made: ArcSwapOption<Made>,
}

struct Made {
    /// Of the vault, before it was read.
    renewals: u64,
    scanned: Arc<Scanned>,
}

/// What is searched for, in one request and over several.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) scanner: Arc<Scanner>,
    pub(crate) fragments: Mutex<Fragments>,
}

impl Knowledge {
    pub(crate) fn new(canaries: Vec<HeldCanary>) -> Knowledge {
        Knowledge { canaries, made: ArcSwapOption::empty() }
    }

    pub(crate) fn scanner(&self, vault: &Vault) -> Arc<Scanner> {
        Arc::clone(&self.scanned(vault).scanner)
    }

    pub(crate) fn scanned(&self, vault: &Vault) -> Arc<Scanned> {
        let renewals = vault.renewals();
        let made = self.made.load();
        if let Some(made) = made.as_ref().filter(|made| made.renewals == renewals) {
            return Arc::clone(&made.scanned);
        }
        let secrets: Vec<_> = vault.values().into_iter().map(|(source, value)| (source.to_string(), value)).collect();
        let mut known = Known::builder();
        for (source, value) in &secrets {
            known = known.secret(source.as_str(), value.expose().as_bytes());
        }
        for canary in &self.canaries {
            known = known.canary(canary.name.as_str(), canary.value.expose().as_bytes());
        }
        let canaries = self.canaries.iter().map(|it| (Arc::from(it.name.as_str()), true, it.value.expose().as_bytes()));
        let values = secrets.iter().map(|(source, it)| (Arc::from(source.as_str()), false, it.expose().as_bytes()));
        let fragments = Mutex::new(Fragments::new(canaries.chain(values)));
        let scanned = Arc::new(Scanned { scanner: Arc::new(Scanner::new(known.build())), fragments });
        self.made.store(Some(Arc::new(Made { renewals, scanned: Arc::clone(&scanned) })));
        scanned
    }
}

impl std::fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Knowledge({} canaries)", self.canaries.len())
    }
}
