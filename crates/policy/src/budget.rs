//! What a bottle has sent in the last period, and whether it may send more ([`bottle_spec::policy::Budgets`]).
//!
//! Sans-I/O: the caller says what time it is, on a clock that only goes forward.
//!
//! Invariants: what is not told to have been spent was not sent, so in no span as long as a period more leaves than the
//! budgets say; and however many hosts are named, memory is bounded: what cannot be kept account of is refused.

use crate::random::{self, Seen};
use bottle_spec::{
    host::{HostName, HostPattern},
    policy::{Budget, Budgets},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

/// Parts of a period; what was spent in one of them is forgotten at once.
const PARTS: usize = 16;
/// Hosts of which account is kept, at most, whatever the budgets say.
const MAX_HOSTS: usize = 16 << 10;

/// Which budget is spent, and when there is some of it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// As the manifest names it.
    pub budget: &'static str,
    /// In seconds; at least 1.
    pub retry_after: u64,
}

/// One request, or more of one's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub requests: u64,
}

/// One bottle's account.
#[derive(Debug, Default)]
pub struct Ledger {
    /// In seconds, of what is below.
    period: u32,
    bottle: Meter,
    /// Only where each host has a budget.
    hosts: HashMap<HostName, Meter>,
    /// Names below wildcards, with the part of time in which each was last used.
    names: HashMap<HostName, u64>,
    /// Random-looking text, below each wildcard.
    random: HashMap<HostName, Window>,
    seen: Seen,
}

impl Ledger {
    /// Whether this much may be sent to `host`, without spending it.
    pub fn fits(&mut self, budgets: &Budgets, now: Duration, host: &HostName, amount: Amount) -> Result<(), Over> {
        let part = self.part(budgets, now);
        let over = |budget, parts| Over { budget, retry_after: seconds(budgets.period, parts) };
        let bottle = ["bytes", "requests"];
        self.bottle
            .wait(part, &budgets.bottle, amount, bottle)
            .map_or(Ok(()), |(budget, wait)| Err(over(budget, wait)))?;
        if budgets.host == Budget::default() {
            return Ok(());
        }
        let names = ["per_host.bytes", "per_host.requests"];
        let none = &mut Meter::default();
        let meter = self.hosts.get_mut(host).unwrap_or(none);
        meter.wait(part, &budgets.host, amount, names).map_or(Ok(()), |(budget, wait)| Err(over(budget, wait)))
    }

    /// Spends this much on `host`, or nothing.
    pub fn spend(&mut self, budgets: &Budgets, now: Duration, host: &HostName, amount: Amount) -> Result<(), Over> {
        self.fits(budgets, now, host, amount)?;
        let part = self.part(budgets, now);
        if budgets.bottle != Budget::default() {
            self.bottle.add(part, amount);
        }
        if budgets.host == Budget::default() {
            return Ok(());
        }
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(host) {
            self.hosts.retain(|_, meter| meter.is_used(part));
        }
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(host) {
            return Err(Over { budget: "hosts", retry_after: seconds(budgets.period, PARTS as u64) });
        }
        self.hosts.entry(host.clone()).or_default().add(part, amount);
        Ok(())
    }

    /// What was spent in the last period, of what has a budget for the bottle as a whole.
    pub fn spent(&mut self, budgets: &Budgets, now: Duration) -> Amount {
        let part = self.part(budgets, now);
        self.bottle.add(part, Amount::default());
        Amount { bytes: self.bottle.bytes.sum, requests: self.bottle.requests.sum }
    }

    /// Notes what the name of a host below a wildcard, and the target asked of it, may tell whoever reads them there.
    pub fn tell(
        &mut self,
        budgets: &Budgets,
        now: Duration,
        host: &HostName,
        by: &HostPattern,
        target: &str,
    ) -> Result<(), Over> {
        let HostPattern::Below(suffix) = by else { return Ok(()) };
        let part = self.part(budgets, now);
        self.name(budgets, part, host)?;
        let Some(limit) = budgets.random else { return Ok(()) };
        let labels = host.as_str().strip_suffix(suffix.as_str()).unwrap_or_default();
        let (seen, mut length) = (&mut self.seen, 0u64);
        for word in random::words(labels).chain(random::words(target)) {
            if seen.note(word) {
                length = length.saturating_add(word.len() as u64);
            }
        }
        if length == 0 {
            return Ok(());
        }
        // One for each wildcard of the policy, and of those before it.
        if self.random.len() >= MAX_HOSTS {
            self.random.retain(|_, window| window.is_used(part));
        }
        let window = self.random.entry(suffix.clone()).or_default();
        match window.wait(part, length, limit) {
            None => window.add(part, length),
            Some(wait) => {
                // What was refused is still to be told.
                seen.forget();
                return Err(Over { budget: "random", retry_after: seconds(budgets.period, wait) });
            }
        }
        Ok(())
    }

    fn name(&mut self, budgets: &Budgets, part: u64, host: &HostName) -> Result<(), Over> {
        let Some(limit) = budgets.hosts else { return Ok(()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_HOSTS);
        let oldest = part.saturating_sub(PARTS as u64);
        if self.names.len() >= limit && !self.names.contains_key(host) {
            self.names.retain(|_, last| *last >= oldest);
        }
        if self.names.len() >= limit && !self.names.contains_key(host) {
            let first = self.names.values().min().copied().unwrap_or(oldest);
            return Err(Over { budget: "hosts", retry_after: seconds(budgets.period, first - oldest.min(first) + 1) });
        }
        match self.names.entry(host.clone()) {
            Entry::Occupied(mut last) => *last.get_mut() = part,
            Entry::Vacant(place) => drop(place.insert(part)),
        }
        Ok(())
    }

    /// The part of time that `now` is in. With another period the account begins anew.
    fn part(&mut self, budgets: &Budgets, now: Duration) -> u64 {
        if self.period != budgets.period {
            *self = Ledger { period: budgets.period, ..Ledger::default() };
        }
        let length = u128::from(budgets.period.max(1)) * 1_000_000 / PARTS as u128;
        u64::try_from(now.as_micros() / length.max(1)).unwrap_or(u64::MAX)
    }
}

/// So many parts of a period, rounded up.
fn seconds(period: u32, parts: u64) -> u64 {
    u64::from(period).saturating_mul(parts).div_ceil(PARTS as u64).max(1)
}

#[derive(Debug, Default)]
struct Meter {
    bytes: Window,
    requests: Window,
}

impl Meter {
    /// Which of the two has too little left, by its name, and for how many parts.
    fn wait(
        &mut self,
        part: u64,
        budget: &Budget,
        amount: Amount,
        [bytes, requests]: [&'static str; 2],
    ) -> Option<(&'static str, u64)> {
        let over = |window: &mut Window, amount, limit: Option<u64>| window.wait(part, amount, limit?);
        let requests_over = over(&mut self.requests, amount.requests, budget.requests).map(|wait| (requests, wait));
        requests_over.or_else(|| over(&mut self.bytes, amount.bytes, budget.bytes).map(|wait| (bytes, wait)))
    }

    fn add(&mut self, part: u64, amount: Amount) {
        self.bytes.add(part, amount.bytes);
        self.requests.add(part, amount.requests);
    }

    fn is_used(&self, part: u64) -> bool {
        self.bytes.is_used(part) || self.requests.is_used(part)
    }
}

/// What was spent in the part of time that is now, and in as many before it as a period has.
#[derive(Debug, Default)]
struct Window {
    /// By number, modulo their count.
    parts: [u64; PARTS + 1],
    newest: u64,
    sum: u64,
}

impl Window {
    /// Forgets what is older than a period.
    fn forward(&mut self, part: u64) {
        let count = self.parts.len() as u64;
        for gone in (self.newest + 1..=part).take(self.parts.len()) {
            if let Some(spent) = usize::try_from(gone % count).ok().and_then(|at| self.parts.get_mut(at)) {
                self.sum = self.sum.saturating_sub(std::mem::take(spent));
            }
        }
        self.newest = self.newest.max(part);
    }

    fn add(&mut self, part: u64, amount: u64) {
        self.forward(part);
        let at = usize::try_from(self.newest % self.parts.len() as u64).unwrap_or_default();
        if let Some(spent) = self.parts.get_mut(at) {
            *spent = spent.saturating_add(amount);
            self.sum = self.sum.saturating_add(amount);
        }
    }

    /// For how many parts `amount` is too much; `None` = it fits. What never fits waits a whole period.
    fn wait(&mut self, part: u64, amount: u64, limit: u64) -> Option<u64> {
        if amount == 0 {
            return None;
        }
        self.forward(part);
        let (count, mut left) = (self.parts.len() as u64, self.sum);
        if left.saturating_add(amount) <= limit {
            return None;
        }
        for wait in 1..count {
            let oldest = usize::try_from((self.newest + wait) % count).unwrap_or_default();
            left = left.saturating_sub(self.parts.get(oldest).copied().unwrap_or_default());
            if left.saturating_add(amount) <= limit {
                return Some(wait);
            }
        }
        Some(count)
    }

    fn is_used(&self, part: u64) -> bool {
        self.sum > 0 && self.newest + PARTS as u64 >= part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    fn budgets(bytes: Option<u64>, requests: Option<u64>) -> Budgets {
        Budgets { bottle: Budget { bytes, requests }, ..Budgets::default() }
    }

    fn bytes(bytes: u64) -> Amount {
        Amount { bytes, requests: 1 }
    }

    #[test]
    fn what_is_spent_comes_back_after_a_period() {
        let (mut ledger, budgets) = (Ledger::default(), budgets(Some(1000), Some(3)));
        let api = host("api.test");
        let mut spend = |seconds, amount| ledger.spend(&budgets, Duration::from_secs(seconds), &api, bytes(amount));
        assert_eq!(spend(0, 600), Ok(()));
        assert_eq!(spend(1800, 400), Ok(()));
        // A period and the rest of the part in which it was spent.
        assert_eq!(spend(1800, 1), Err(Over { budget: "bytes", retry_after: 2025 }));
        assert_eq!(spend(3599, 1), Err(Over { budget: "bytes", retry_after: 450 }));
        assert_eq!(spend(3825, 600), Ok(()));
        assert_eq!(spend(3826, 0), Ok(()));
        assert_eq!(spend(3827, 0), Err(Over { budget: "requests", retry_after: 1800 }));
        assert_eq!(spend(20_000, 1001), Err(Over { budget: "bytes", retry_after: 3825 }), "what never fits");
        assert_eq!(spend(20_000, 1000), Ok(()));
    }

    #[test]
    fn each_host_has_its_own() {
        let mut ledger = Ledger::default();
        let budgets = Budgets { host: Budget { bytes: Some(10), requests: None }, ..budgets(Some(25), None) };
        let (one, two, three) = (host("one.test"), host("two.test"), host("three.test"));
        let mut spend = |host, amount| ledger.spend(&budgets, HOUR, host, bytes(amount)).map_err(|over| over.budget);
        assert_eq!((spend(&one, 10), spend(&two, 10)), (Ok(()), Ok(())));
        assert_eq!((spend(&one, 1), spend(&three, 6), spend(&three, 5)), (Err("per_host.bytes"), Err("bytes"), Ok(())));
    }

    #[test]
    fn names_below_a_wildcard_are_counted_and_others_not() {
        let (mut ledger, budgets) = (Ledger::default(), Budgets { hosts: Some(2), ..Budgets::default() });
        let wild = HostPattern::parse("*.cdn.test").unwrap();
        let mut tell = |at: Duration, name: &str, by: &HostPattern| {
            ledger.tell(&budgets, at, &host(name), by, "/").map_err(|over| over.budget)
        };
        for name in ["a.cdn.test", "b.cdn.test", "a.cdn.test", "b.cdn.test"] {
            assert_eq!(tell(HOUR, name, &wild), Ok(()), "{name}");
        }
        assert_eq!(tell(HOUR, "c.cdn.test", &wild), Err("hosts"));
        assert_eq!(tell(HOUR, "c.cdn.test", &HostPattern::parse("c.cdn.test").unwrap()), Ok(()));
        assert_eq!(tell(HOUR * 3, "c.cdn.test", &wild), Ok(()), "the others are long gone");
    }

    #[test]
    fn random_text_below_a_wildcard_is_counted_once() {
        let (mut ledger, budgets) = (Ledger::default(), Budgets { random: Some(100), ..Budgets::default() });
        let wild = HostPattern::parse("*.cdn.test").unwrap();
        let mut tell = |name: &str, target: &str, by: &HostPattern| {
            ledger.tell(&budgets, HOUR, &host(name), by, target).map_err(|over| over.budget)
        };
        let hash = |first: char| format!("/blobs/{first}f86d081884c7d659a2feaa0c55ad015f86d081884c7d659");
        for target in [hash('a'), hash('a'), hash('b'), "/about/us?page=17".repeat(20)] {
            assert_eq!(tell("www.cdn.test", &target, &wild), Ok(()), "{target}");
        }
        assert_eq!(tell("www.cdn.test", &hash('c'), &wild), Err("random"));
        assert_eq!(tell("www.cdn.test", &hash('c'), &wild), Err("random"), "and again");
        assert_eq!(tell("mzxw6ytboi5dq4dvmq.cdn.test", "/", &wild), Err("random"), "labels count, too");
        assert_eq!(tell("www.cdn.test", &hash('c'), &HostPattern::parse("www.cdn.test").unwrap()), Ok(()));
    }

    proptest! {
        /// In no hour leaves more than the budget of an hour.
        #[test]
        fn no_span_holds_more_than_the_budget(spends in prop::collection::vec((0u64..600, 1u64..40), 1..200)) {
            let (mut ledger, budgets) = (Ledger::default(), budgets(Some(100), None));
            let (mut now, mut sent) = (0, Vec::new());
            for (pause, amount) in spends {
                now += pause;
                let at = Duration::from_secs(now);
                match ledger.spend(&budgets, at, &host("api.test"), bytes(amount)) {
                    Ok(()) => sent.push((now, amount)),
                    Err(over) => {
                        // And it holds what it promises.
                        let later = at + Duration::from_secs(over.retry_after);
                        prop_assert!(ledger.fits(&budgets, later, &host("api.test"), bytes(amount)).is_ok());
                        break;
                    }
                }
            }
            for (end, _) in &sent {
                let within = sent.iter().filter(|(at, _)| at <= end && at + 3600 >= *end);
                prop_assert!(within.map(|(_, amount)| amount).sum::<u64>() <= 100);
            }
        }
    }
}
