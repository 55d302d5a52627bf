//! From a request of the agent's to what a yes gives: a pure function of the structure that the operator is shown.
//!
//! Invariants: no free text of a request becomes policy; a narrowed request asks for no more than the one it was made
//! of; a grant widens neither the checks of a host that the plan has routes for, nor where a secret goes beyond the
//! one host that is asked about.

mod risk;

pub use risk::risks;

use crate::validate::{Fault, faults};
use bottle_spec::{
    host::HostPattern,
    operator::{EgressRequest, Gives, Grant, Requested, SecretRequest, Term, Unfit},
    plan::{Plan, PlannedSecret},
    policy::{Auth, Carrier, EgressPolicy, Granted, PathPattern, Route, Tls},
};

/// What the operator leaves out of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    pub methods: Option<Vec<String>>,
    pub paths: Option<Vec<PathPattern>>,
    pub refs: Option<Vec<String>>,
    /// Replaces what the agent wished for, also by a longer one: time is the operator's to give.
    pub term: Option<Term>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("the request is not fit to be granted")]
    Unfit(#[source] Unfit),
    #[error("`{0}` is not among what was asked for")]
    Wider(String),
    #[error("this request has no {0} to narrow")]
    NothingToNarrow(&'static str),
    #[error("the bottle has no repository `{0}`")]
    NoRepository(String),
    #[error(
        "nothing may be pushed to `{0}`: its process was started without; add `push` in the manifest and start anew"
    )]
    NoPush(String),
    #[error("the bottle has no secret with the placeholder `{0}`")]
    NoSecret(String),
    #[error("a push rule cannot be granted for less than the bottle's run yet")]
    RefTerm,
    #[error("the policy would not be valid: {0}")]
    Invalid(Fault),
}

/// The request with less in it.
pub fn narrowed(asked: &Requested, narrowing: &Narrowing) -> Result<Requested, GrantError> {
    let Narrowing { methods, paths, refs, term } = narrowing;
    let mut asked = asked.clone();
    let (own_methods, own_paths, own_refs, own_term) = match &mut asked {
        Requested::Egress(it) => (Some(&mut it.methods), Some(&mut it.paths), None, Some(&mut it.term)),
        Requested::SecretRoute(it) => (Some(&mut it.methods), Some(&mut it.paths), None, Some(&mut it.term)),
        Requested::Git(it) => (None, None, Some(&mut it.refs), Some(&mut it.term)),
        Requested::Push(_) | Requested::Held(_) | Requested::Question(_) => (None, None, None, None),
    };
    if let Some(methods) = methods {
        let own = own_methods.ok_or(GrantError::NothingToNarrow("methods"))?;
        let all = own.as_deref();
        if let Some(more) = methods.iter().find(|method| all.is_some_and(|all| !all.contains(method))) {
            return Err(GrantError::Wider(more.clone()));
        }
        *own = Some(methods.clone());
    }
    if let Some(paths) = paths {
        let own = own_paths.ok_or(GrantError::NothingToNarrow("paths"))?;
        let all = own.as_deref();
        if let Some(more) = paths.iter().find(|path| all.is_some_and(|all| !all.iter().any(|it| covers(it, path)))) {
            return Err(GrantError::Wider(more.0.clone()));
        }
        *own = Some(paths.clone());
    }
    if let Some(refs) = refs {
        let own = own_refs.ok_or(GrantError::NothingToNarrow("refs"))?;
        let kept: Result<Vec<_>, _> = refs
            .iter()
            .map(|name| own.iter().find(|it| it.as_str() == name).cloned().ok_or(GrantError::Wider(name.clone())))
            .collect();
        *own = kept?;
    }
    if let Some(term) = term {
        *own_term.ok_or(GrantError::NothingToNarrow("term"))? = *term;
    }
    Ok(asked)
}

/// Whether every path of the second pattern is one of the first: segment by segment, where wildcards of the second
/// count as themselves.
fn covers(wide: &PathPattern, narrow: &PathPattern) -> bool {
    fn split(pattern: &PathPattern) -> Option<Vec<&str>> {
        Some(pattern.0.strip_prefix('/')?.split('/').collect())
    }
    fn all(wide: &[&str], narrow: &[&str]) -> bool {
        match (wide, narrow) {
            ([], []) => true,
            (["**", rest @ ..], _) => {
                all(rest, narrow) || narrow.split_first().is_some_and(|(_, narrow)| all(wide, narrow))
            }
            ([one, wide @ ..], [other, narrow @ ..]) => {
                (one == other || (*one == "*" && !other.contains("**"))) && all(wide, narrow)
            }
            _ => false,
        }
    }
    match (split(wide), split(narrow)) {
        (Some(wide), Some(narrow)) if narrow.len() <= 64 => all(&wide, &narrow),
        _ => false,
    }
}

/// What a yes to this request gives; `None` = a yes is all there is to it.
pub fn grant(id: &str, asked: &Requested, plan: &Plan) -> Result<Option<Grant>, GrantError> {
    let (gives, term) = match asked {
        Requested::Push(_) | Requested::Held(_) | Requested::Question(_) => return Ok(None),
        Requested::Egress(asked) => {
            asked.check().map_err(GrantError::Unfit)?;
            let route = egress(id, asked, &plan.egress);
            (Gives::Route { route: Box::new(route), first: false }, asked.term)
        }
        Requested::SecretRoute(asked) => {
            asked.check().map_err(GrantError::Unfit)?;
            let route = secret(id, asked, plan)?;
            (Gives::Route { route: Box::new(route), first: true }, asked.term)
        }
        Requested::Git(asked) => {
            asked.check().map_err(GrantError::Unfit)?;
            let listed = plan.git.iter().find(|repository| repository.name == asked.repository);
            let listed = listed.ok_or_else(|| GrantError::NoRepository(asked.repository.clone()))?;
            if listed.push.is_none() {
                return Err(GrantError::NoPush(asked.repository.clone()));
            }
            (Gives::Refs { repository: asked.repository.clone(), refs: asked.refs.clone() }, asked.term)
        }
    };
    if matches!(gives, Gives::Refs { .. }) && term != Term::Bottle {
        return Err(GrantError::RefTerm);
    }
    let grant = Grant { request: id.to_owned(), gives, term, until: None };
    match faults(&plan.egress.with_grants(std::slice::from_ref(&grant))).into_iter().next() {
        Some(fault) => Err(GrantError::Invalid(fault)),
        None => Ok(Some(grant)),
    }
}

/// As the plan treats this host already, where it does: its credential, its scan, its reach.
fn egress(id: &str, asked: &EgressRequest, policy: &EgressPolicy) -> Route {
    let like = like(policy, &asked.host).cloned().unwrap_or_else(|| Route::to(asked.host.clone()));
    Route {
        host: asked.host.clone(),
        ports: vec![asked.port],
        methods: asked.methods.clone(),
        paths: asked.paths.clone(),
        tls: Tls::Intercept,
        granted: granted(id, asked.term),
        ..like
    }
}

/// The plan's route for the very same hosts.
pub(crate) fn like<'a>(policy: &'a EgressPolicy, host: &HostPattern) -> Option<&'a Route> {
    let same = |route: &&Route| route.host == *host && route.tls == Tls::Intercept;
    policy.routes.iter().find(same)
}

fn secret(id: &str, asked: &SecretRequest, plan: &Plan) -> Result<Route, GrantError> {
    let planned = plan.secrets.iter().find(|secret| secret.placeholder == asked.secret);
    let PlannedSecret { source, .. } = planned.ok_or_else(|| GrantError::NoSecret(asked.secret.clone()))?;
    let worn = plan.egress.routes.iter().filter_map(|route| route.auth.as_ref()).find(|auth| auth.secret == *source);
    let carrier = worn.map_or(Carrier::Bearer, |auth| auth.carrier.clone());
    Ok(Route {
        ports: vec![443],
        methods: asked.methods.clone(),
        paths: asked.paths.clone(),
        auth: Some(Auth { carrier, secret: source.clone() }),
        granted: granted(id, asked.term),
        ..Route::to(HostPattern::Exact(asked.host.clone()))
    })
}

fn granted(id: &str, term: Term) -> Option<Granted> {
    Some(Granted { request: id.to_owned(), once: term == Term::Once })
}

#[cfg(test)]
mod tests;
