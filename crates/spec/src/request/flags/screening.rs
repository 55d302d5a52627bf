//! `--on-finding` and `--exempt`: what the scan does on the routes of a host.

use super::{FlagError, Flags, each};
use crate::{
    host::HostPattern,
    manifest::{Mistake, Place, Placed},
    policy::{OnFinding, Route},
};
use std::str::FromStr;

/// `HOST=ACTION`.
struct OnFindingFor {
    host: HostPattern,
    action: OnFinding,
}

impl FromStr for OnFindingFor {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<OnFindingFor, FlagError> {
        let (host, action) = text.split_once('=').ok_or(FlagError::OnFinding)?;
        let action = match action {
            "block" => OnFinding::Block,
            "redact" => OnFinding::Redact,
            "ask" => OnFinding::Ask,
            "log" => OnFinding::Log,
            _ => return Err(FlagError::OnFinding),
        };
        Ok(OnFindingFor { host: HostPattern::parse(host)?, action })
    }
}

/// `HOST=RULE,…`.
struct ExemptFor {
    host: HostPattern,
    rules: Vec<String>,
}

impl FromStr for ExemptFor {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<ExemptFor, FlagError> {
        let (host, rules) = text.split_once('=').ok_or(FlagError::Exempt)?;
        let rules: Vec<String> = rules.split(',').map(str::to_owned).collect();
        if rules.iter().any(String::is_empty) {
            return Err(FlagError::Exempt);
        }
        Ok(ExemptFor { host: HostPattern::parse(host)?, rules })
    }
}

/// Puts each flag onto the routes of its host; one that has none would say nothing and is a mistake.
pub(super) fn apply(flags: &Flags, routes: &mut [Placed<Route>], mistakes: &mut Vec<Mistake>) {
    for flag in each::<OnFindingFor>("--on-finding", &flags.on_finding, mistakes) {
        let Placed { value: OnFindingFor { host, action }, place } = flag;
        if !on_each(routes, &host, |route| route.on_finding = action) {
            mistakes.push(no_route(&host, &place));
        }
    }
    for flag in each::<ExemptFor>("--exempt", &flags.exempt, mistakes) {
        let Placed { value: ExemptFor { host, rules }, place } = flag;
        if !on_each(routes, &host, |route| route.exempt.extend(rules.iter().cloned())) {
            mistakes.push(no_route(&host, &place));
        }
    }
}

fn on_each(routes: &mut [Placed<Route>], host: &HostPattern, mut change: impl FnMut(&mut Route)) -> bool {
    let mut found = false;
    for route in routes.iter_mut().filter(|route| route.value.host == *host) {
        change(&mut route.value);
        found = true;
    }
    found
}

fn no_route(host: &HostPattern, place: &Place) -> Mistake {
    let message = format!("nothing is allowed for {host}, so nothing is searched there");
    Mistake::new(place, message).hint(format!("add --allow {host}"))
}
