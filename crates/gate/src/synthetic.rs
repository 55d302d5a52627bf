//! The synthetic addresses: what the resolver door answers, and how a transparent door knows which name was meant.
//!
//! Invariant: at any moment one address stands for one name and one name for one address, all within the
//! bottle's own /15.
//! The names kept are bounded. A name that some route names exactly keeps its address as long as the policy stands;
//! others are forgotten, the least recently used first, in two pools: a flood of names that no route allows pushes out
//! only such names. A forgotten name's address is given out again last of all: after every other address of its pool.
//! Should a bottle still use the address then, the name it meant and the name it gets differ, and the egress door
//! refuses it by the server name or `Host` it sends.

use crate::limits::{MAX_NAMES, MAX_PINNED};
use bottle_spec::{
    door::SYNTHETIC_NET,
    host::{HostName, HostPattern},
    policy::EgressPolicy,
};
use lru::LruCache;
use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Cheap to clone; all clones are one table.
#[derive(Debug, Clone)]
pub struct Names {
    table: Arc<Mutex<Table>>,
}

impl Names {
    /// A table for this policy; names that its routes name exactly get the first addresses, in the policy's order, so
    /// that a gate that was restarted gives them the same.
    pub fn new(policy: &EgressPolicy) -> Names {
        Names::within(policy, SYNTHETIC_NET.0)
    }

    /// The same, with the addresses of the /15 that begins at `first`.
    pub fn within(policy: &EgressPolicy, first: Ipv4Addr) -> Names {
        let names = Names { table: Arc::new(Mutex::new(Table::new(first))) };
        names.follow(policy);
        names
    }

    /// Takes on another policy. Addresses given out before stay as they are while their pool has room.
    pub fn follow(&self, policy: &EgressPolicy) {
        let mut table = self.lock();
        table.everything = policy.observe;
        table.patterns = policy.routes.iter().map(|route| route.host.clone()).collect();
        for host in policy.resolve.keys() {
            table.patterns.push(HostPattern::Exact(host.clone()));
        }
        table.unpin();
        table.pin();
    }

    /// The address that stands for this name.
    pub fn address_for(&self, name: &HostName) -> Ipv4Addr {
        self.lock().address_for(name)
    }

    /// The name that this address stands for; `None` = it was never given out, or is forgotten.
    pub fn name_of(&self, address: Ipv4Addr) -> Option<HostName> {
        self.lock().name_of(address)
    }

    /// Whether some route speaks of this name.
    pub fn routed(&self, name: &HostName) -> bool {
        self.lock().routed(name)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Table {
    /// Every name counts as routed.
    everything: bool,
    patterns: Vec<HostPattern>,
    pinned: HashMap<HostName, Ipv4Addr>,
    routed: Pool,
    other: Pool,
    names: HashMap<Ipv4Addr, HostName>,
}

/// Names in the order of their use, and the addresses they come from.
#[derive(Debug)]
struct Pool {
    used: LruCache<HostName, Ipv4Addr>,
    /// Addresses `first + 1 ..= first + size`.
    first: u32,
    size: u32,
    next: u32,
}

impl Table {
    fn new(first: Ipv4Addr) -> Table {
        let base = u32::from(first);
        // The lower /16 is for names that routes allow, the upper one for all others.
        Table {
            everything: false,
            patterns: Vec::new(),
            pinned: HashMap::new(),
            routed: Pool::new(base),
            other: Pool::new(base + (1 << 16)),
            names: HashMap::new(),
        }
    }

    fn address_for(&mut self, name: &HostName) -> Ipv4Addr {
        if let Some(address) = self.pinned.get(name) {
            return *address;
        }
        let routed = self.routed(name);
        // A name given out under an older policy keeps its address.
        let known = self.routed.used.get(name).or_else(|| self.other.used.get(name));
        if let Some(address) = known {
            return *address;
        }
        let pool = if routed { &mut self.routed } else { &mut self.other };
        let address = pool.free_address(&self.names);
        if let Some((_, forgotten)) = pool.used.push(name.clone(), address) {
            self.names.remove(&forgotten);
        }
        self.names.insert(address, name.clone());
        address
    }

    fn name_of(&mut self, address: Ipv4Addr) -> Option<HostName> {
        let name = self.names.get(&address)?;
        self.routed.used.promote(name);
        self.other.used.promote(name);
        Some(name.clone())
    }

    fn routed(&self, name: &HostName) -> bool {
        self.everything || self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Names that the routes no longer name exactly become ordinary ones.
    fn unpin(&mut self) {
        let exact: HashSet<HostName> = self.exact().into_iter().collect();
        for (name, address) in self.pinned.extract_if(|name, _| !exact.contains(name)) {
            if let Some((_, forgotten)) = self.other.used.push(name, address) {
                self.names.remove(&forgotten);
            }
        }
    }

    fn pin(&mut self) {
        for name in self.exact() {
            if self.pinned.len() >= MAX_PINNED {
                return;
            }
            let address = self.address_for(&name);
            self.routed.used.pop(&name);
            self.other.used.pop(&name);
            self.pinned.insert(name, address);
        }
    }

    fn exact(&self) -> Vec<HostName> {
        let exact = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => Some(name.clone()),
            HostPattern::Below(_) => None,
        };
        self.patterns.iter().filter_map(exact).collect()
    }
}

impl Pool {
    fn new(first: u32) -> Pool {
        let capacity = NonZeroUsize::new(MAX_NAMES).unwrap_or(NonZeroUsize::MIN);
        // Unbounded at first: a table of the full capacity would cost an idle bottle some 100 KiB.
        let mut used = LruCache::unbounded();
        used.resize(capacity);
        Pool { used, first, size: (1 << 16) - 2, next: 0 }
    }

    /// The next address round the ring that stands for nothing. There always is one: pinned and pooled names together
    /// are fewer than a pool's addresses.
    fn free_address(&mut self, taken: &HashMap<Ipv4Addr, HostName>) -> Ipv4Addr {
        loop {
            self.next = self.next % self.size + 1;
            let address = Ipv4Addr::from(self.first + self.next);
            if !taken.contains_key(&address) {
                return address;
            }
        }
    }
}

const _: () = assert!(2 * MAX_NAMES + MAX_PINNED < (1 << 16) - 2, "a pool must never run out of addresses");

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::policy::{DEFAULT_PORTS, Inbound, OnFinding, Route, Tls};

    fn policy(hosts: &[&str]) -> EgressPolicy {
        let route = |host: &&str| Route {
            host: HostPattern::parse(host).unwrap(),
            ports: DEFAULT_PORTS.to_vec(),
            methods: None,
            paths: None,
            tls: Tls::Intercept,
            auth: None,
            private: false,
            inbound: Inbound::default(),
            ask: false,
            answer: None,
            granted: None,
            on_finding: OnFinding::default(),
            exempt: Vec::new(),
        };
        EgressPolicy { routes: hosts.iter().map(route).collect(), ..EgressPolicy::default() }
    }

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn one_name_one_address_in_the_range() {
        let names = Names::new(&policy(&["api.example.com", "*.example.org"]));
        let (net, prefix) = SYNTHETIC_NET;
        let mut seen = std::collections::HashMap::new();
        for text in ["api.example.com", "a.example.org", "b.example.org", "evil.test", "other.test"] {
            let address = names.address_for(&name(text));
            assert!((u32::from(address) ^ u32::from(net)).leading_zeros() >= u32::from(prefix), "{address}");
            assert_eq!(seen.insert(address, text), None);
            assert_eq!(names.address_for(&name(text)), address, "the second answer differs");
            assert_eq!(names.name_of(address), Some(name(text)));
        }
        assert_eq!(names.name_of(Ipv4Addr::new(198, 18, 99, 99)), None);
        assert_eq!(names.name_of(Ipv4Addr::new(10, 0, 0, 1)), None);
    }

    #[test]
    fn a_range_of_loopback_serves_as_well() {
        let (first, prefix) = bottle_spec::door::LOOPBACK_NET;
        let names = Names::within(&policy(&["api.example.com"]), first);
        for text in ["api.example.com", "evil.test"] {
            let address = names.address_for(&name(text));
            assert!((u32::from(address) ^ u32::from(first)).leading_zeros() >= u32::from(prefix), "{address}");
            assert!(address.is_loopback());
            assert_eq!(names.name_of(address), Some(name(text)));
        }
        assert_eq!(prefix, SYNTHETIC_NET.1, "a table of addresses is as large in either");
    }

    #[test]
    fn a_restarted_gate_gives_routes_the_same_addresses() {
        let hosts = ["z.example", "a.example", "m.example"];
        let (one, two) = (Names::new(&policy(&hosts)), Names::new(&policy(&hosts)));
        two.address_for(&name("noise.test"));
        for host in hosts.iter().rev() {
            assert_eq!(one.address_for(&name(host)), two.address_for(&name(host)));
        }
    }

    #[test]
    fn a_flood_of_denied_names_pushes_out_denied_names_alone() {
        let names = Names::new(&policy(&["api.example.com", "*.example.org"]));
        let kept = ["api.example.com", "a.example.org"].map(|text| (name(text), names.address_for(&name(text))));
        let first = names.address_for(&name("first.flood.test"));
        for i in 0..3 * MAX_NAMES {
            names.address_for(&name(&format!("n{i}.flood.test")));
        }
        for (name, address) in &kept {
            assert_eq!(names.name_of(*address).as_ref(), Some(name));
            assert_eq!(names.address_for(name), *address);
        }
        assert_eq!(names.name_of(first), None, "the flood's first name is kept for ever");
        let table = names.lock();
        assert_eq!(table.names.len(), 2 + MAX_NAMES);
    }

    #[test]
    fn a_flood_below_a_wildcard_leaves_exact_names_and_names_in_use() {
        let names = Names::new(&policy(&["api.example.com", "*.example.org"]));
        let exact = names.address_for(&name("api.example.com"));
        let busy = names.address_for(&name("busy.example.org"));
        for i in 0..3 * MAX_NAMES {
            names.address_for(&name(&format!("n{i}.example.org")));
            assert_eq!(names.name_of(busy), Some(name("busy.example.org")));
        }
        assert_eq!(names.name_of(exact), Some(name("api.example.com")));
    }

    #[test]
    fn a_forgotten_address_comes_back_last() {
        let names = Names::new(&policy(&[]));
        let first = names.address_for(&name("first.test"));
        let ring = (1 << 16) - 2;
        for i in 1..ring {
            assert_ne!(names.address_for(&name(&format!("n{i}.test"))), first, "after {i} names");
        }
        assert_eq!(names.address_for(&name("last.test")), first);
    }

    #[test]
    fn a_new_policy_moves_no_address() {
        let names = Names::new(&policy(&["a.example"]));
        let (a, b) = (names.address_for(&name("a.example")), names.address_for(&name("b.example")));
        names.follow(&policy(&["b.example"]));
        assert_eq!((names.address_for(&name("a.example")), names.address_for(&name("b.example"))), (a, b));
        assert!(names.routed(&name("b.example")) && !names.routed(&name("a.example")));
    }
}
