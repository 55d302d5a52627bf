//! `bot-bottle policy`: asks the same rules as the gate, with nothing sent.

use super::run::PolicyFlags;
use crate::{
    catalog,
    compose::Context,
    error::{CliError, Kind},
};
use bottle_policy::{Question, Rules};
use bottle_spec::{
    escape::Escaped,
    host::HostName,
    manifest::Egress,
    notation::{Method, Port},
    policy::EgressPolicy,
    verdict::Reason,
};
use serde::Serialize;
use std::process::ExitCode;

/// Ask what the gate would answer, without sending anything
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say whether a request may leave: exit code 0 allowed, 5 denied
    Check {
        /// The bottle, as in bottles/NAME.yaml
        #[arg(long, conflicts_with = "allow", required_unless_present = "allow")]
        bottle: Option<String>,
        #[command(flatten)]
        flags: PolicyFlags,
        #[arg(long)]
        json: bool,
        method: String,
        url: String,
    },
}

/// As printed with `--json`.
#[derive(Debug, Serialize)]
struct Answer {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The index of the route, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<usize>,
    /// The source of the secret that would be sent along.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

pub(crate) fn run(args: PolicyArgs, context: &Context) -> Result<ExitCode, CliError> {
    let Verb::Check { bottle, flags, json, method, url } = args.verb;
    let egress = match &bottle {
        Some(name) => catalog::bottle_named(name, context)?.egress,
        None => flags.flags().request().map_err(|mistakes| CliError::mistakes(&mistakes, Kind::Usage))?.egress,
    };
    let rules = rules(egress)?;
    let method: Method = method.parse().map_err(|error| CliError::usage("METHOD is not one").because(error))?;
    let target = Target::parse(&url)?;
    let answer = ask(&rules, &method.0, &target);
    if json {
        context.ui.json(&answer)?;
    } else {
        context.ui.result(&told(&answer, &rules))?;
    }
    Ok(if answer.reason.is_none() { ExitCode::SUCCESS } else { ExitCode::from(Kind::Denied as u8) })
}

/// Certificates and addresses do not matter to what is allowed.
fn rules(egress: Egress) -> Result<Rules, CliError> {
    let routes = egress.routes.into_iter().map(|route| route.value).collect();
    let policy = EgressPolicy { routes, resolve: egress.resolve, ..EgressPolicy::default() };
    Rules::new(policy).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        CliError::manifest(lines.join("\n"))
    })
}

fn ask(rules: &Rules, method: &str, target: &Target) -> Answer {
    let question = Question {
        host: &target.host,
        port: target.port,
        method,
        path: &target.path,
        query: target.query.as_deref(),
        method_override: false,
    };
    let denied = |reason| Answer { decision: "deny", reason: Some(reason), route: None, secret: None };
    match rules.permit(question) {
        Err(refused) => denied(refused.reason),
        Ok(permitted) => {
            let auth = rules.route(permitted.route()).and_then(|route| route.auth.as_ref());
            if auth.is_some() && !target.is_https {
                return denied(Reason::PlaintextCredential);
            }
            let secret = auth.map(|auth| auth.secret.to_string());
            Answer { decision: "allow", reason: None, route: Some(permitted.route()), secret }
        }
    }
}

fn told(answer: &Answer, rules: &Rules) -> String {
    let line = match (answer.reason, answer.route.and_then(|index| rules.route(index))) {
        (Some(reason), _) => format!("deny: {reason} ({})", reason.code()),
        (None, Some(route)) => format!("allow: by the route for {}", route.host),
        (None, None) => "allow".to_owned(),
    };
    let secret = answer.secret.as_deref().map(|source| format!(", with {}", Escaped(source)));
    format!("{line}{}\n", secret.unwrap_or_default())
}

/// A URL as the gate would see it asked for.
struct Target {
    is_https: bool,
    host: HostName,
    port: u16,
    path: String,
    query: Option<String>,
}

impl Target {
    fn parse(url: &str) -> Result<Target, CliError> {
        let bad = |why: &str| {
            CliError::usage(format!("{}: {why}", Escaped(url))).next("write it as https://api.example.com/path")
        };
        let (is_https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(bad("a URL begins with https:// or http://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<Port>().map_err(|error| bad(&error.to_string()))?.0),
            None => (authority, if is_https { 443 } else { 80 }),
        };
        let host = HostName::parse(host).map_err(|error| bad(&error.to_string()))?;
        let path = if path.is_empty() { "/" } else { path };
        Ok(Target { is_https, host, port, path: path.to_owned(), query })
    }
}
