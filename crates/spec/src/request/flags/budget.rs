//! `--budget`: how much may leave in one period.

use super::{FlagError, Flags, each};
use crate::{
    manifest::Mistake,
    notation::{Count, Period, Size},
    policy::{Budget, Budgets},
};
use std::str::FromStr;

/// `NAME=VALUE`, the names and values of a bottle's `budgets`, with `per_host.` for what stands below that.
enum Set {
    Period(u32),
    Bottle(Budget),
    Host(Budget),
    Hosts(u32),
    Random(u64),
}

impl FromStr for Set {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Set, FlagError> {
        let (name, value) = text.split_once('=').ok_or(FlagError::Budget)?;
        let none = Budget::default();
        Ok(match name {
            "period" => Set::Period(value.parse::<Period>()?.0),
            "bytes" => Set::Bottle(Budget { bytes: Some(value.parse::<Size>()?.0), ..none }),
            "requests" => Set::Bottle(Budget { requests: Some(value.parse::<Count>()?.0), ..none }),
            "per_host.bytes" => Set::Host(Budget { bytes: Some(value.parse::<Size>()?.0), ..none }),
            "per_host.requests" => Set::Host(Budget { requests: Some(value.parse::<Count>()?.0), ..none }),
            "hosts" => Set::Hosts(u32::try_from(value.parse::<Count>()?.0).unwrap_or(u32::MAX)),
            "random" => Set::Random(value.parse::<Size>()?.0),
            _ => return Err(FlagError::Budget),
        })
    }
}

/// Of a budget that is given twice, the last holds.
pub(super) fn budgets(flags: &Flags, mistakes: &mut Vec<Mistake>) -> Budgets {
    let given = each::<Set>("--budget", &flags.budgets, mistakes);
    given.into_iter().fold(Budgets::default(), |budgets, set| match set.value {
        Set::Period(period) => Budgets { period, ..budgets },
        Set::Bottle(next) => Budgets { bottle: over(next, budgets.bottle), ..budgets },
        Set::Host(next) => Budgets { host: over(next, budgets.host), ..budgets },
        Set::Hosts(hosts) => Budgets { hosts: Some(hosts), ..budgets },
        Set::Random(random) => Budgets { random: Some(random), ..budgets },
    })
}

fn over(next: Budget, before: Budget) -> Budget {
    Budget { bytes: next.bytes.or(before.bytes), requests: next.requests.or(before.requests) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_a_manifest_says() {
        let given = ["bytes=1GiB", "requests=10000", "per_host.bytes=1MiB", "hosts=3", "period=1d", "requests=5"];
        let flags =
            Flags { budgets: given.map(str::to_owned).to_vec(), command: vec!["x".to_owned()], ..Flags::default() };
        let expected = Budgets {
            period: 86_400,
            bottle: Budget { bytes: Some(1 << 30), requests: Some(5) },
            host: Budget { bytes: Some(1 << 20), requests: None },
            hosts: Some(3),
            random: Some(Budgets::RANDOM),
        };
        assert_eq!(flags.request().unwrap().budgets, expected);
    }
}
