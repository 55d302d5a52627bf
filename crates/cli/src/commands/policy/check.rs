//! `bot-bottle policy check`: asks the same rules and the same scanner as the gate, with nothing sent.

use crate::{
    catalog,
    commands::run::PolicyFlags,
    compose::Context,
    error::{CliError, Kind},
    secrets::{self, Use},
};
use bottle_policy::{
    Question, Rules,
    egress::is_method_override,
    scan::{Finding, Known, Scanner, Shape},
};
use bottle_spec::{
    escape::Escaped,
    host::HostName,
    manifest::Egress,
    notation::{Method, Port},
    policy::{Auth, EgressPolicy, OnFinding},
    secret::SecretRef,
    verdict::Reason,
};
use bytes::Bytes;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// Say whether a request may leave, by which route, and what the scan finds in it: exit code 0 allowed, 5 denied
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The bottle, as in bottles/NAME.yaml
    #[arg(long, conflicts_with = "allow", required_unless_present = "allow")]
    bottle: Option<String>,
    #[command(flatten)]
    flags: PolicyFlags,
    /// The request's method [default: GET, with a body POST]
    #[arg(long, short = 'X')]
    method: Option<String>,
    /// A header of the request, as 'NAME: VALUE'
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<String>,
    /// The request's body; `-` is standard input
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    #[arg(long)]
    json: bool,
    url: String,
}

/// As printed with `--json`.
#[derive(Debug, Serialize)]
struct Answer {
    /// `allow`, `answer` (by the gate itself: nothing is sent), `ask` or `deny`.
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The index of the route, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<usize>,
    /// The source of the secret that would be sent along.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// What the scan found and the route does not exempt: the first characters and the length, never the whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
}

/// What is asked about.
struct Asked {
    method: String,
    target: Target,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

pub(super) fn run(args: CheckArgs, context: &Context) -> Result<ExitCode, CliError> {
    let (egress, protect) = match &args.bottle {
        Some(name) => {
            let bottle = catalog::bottle_named(name, context)?;
            (bottle.egress, bottle.protect)
        }
        None => {
            let request =
                args.flags.flags().request().map_err(|mistakes| CliError::mistakes(&mistakes, Kind::Usage))?;
            (request.egress, request.protect)
        }
    };
    let asked = asked(&args)?;
    let injected = egress.routes.iter().filter_map(|route| route.value.auth.as_ref()).map(|auth| &auth.secret);
    let known = known(injected.chain(protect.iter().map(|secret| &secret.value)), context);
    let rules = rules(egress)?;
    let answer = ask(&rules, &asked, &Arc::new(Scanner::new(known)));
    if args.json {
        context.ui.json(&answer)?;
    } else {
        context.ui.result(&told(&answer, &rules))?;
    }
    Ok(if answer.reason.is_none() { ExitCode::SUCCESS } else { ExitCode::from(Kind::Denied as u8) })
}

fn asked(args: &CheckArgs) -> Result<Asked, CliError> {
    let body = args.body_file.as_deref().map(read_body).transpose()?;
    let method = match &args.method {
        Some(method) => method.parse().map_err(|error| CliError::usage("--method is none").because(error))?,
        None => Method(if body.is_some() { "POST" } else { "GET" }.to_owned()),
    };
    let header = |text: &String| {
        let (name, value) = text.split_once(':').ok_or_else(|| {
            CliError::usage(format!("`{}` is no header", Escaped(text))).next("write it as 'NAME: VALUE'")
        })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let headers = args.header.iter().map(header).collect::<Result<_, CliError>>()?;
    Ok(Asked { method: method.0, target: Target::parse(&args.url)?, headers, body })
}

fn read_body(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().lock().read_to_end(&mut bytes),
        _ => File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        CliError::usage(format!("{} cannot be read", Escaped(&path.display().to_string()))).because(error)
    })?;
    Ok(bytes)
}

/// Of the bottle's secrets those that are at hand: no command is run for a question.
fn known<'a>(sources: impl Iterator<Item = &'a SecretRef>, context: &Context) -> Known {
    let mut known = Known::builder();
    for source in sources {
        let at_hand = matches!(source, SecretRef::Env(_) | SecretRef::File(_));
        match at_hand.then(|| secrets::read(source, Use::LookedFor, context)) {
            Some(Ok(reading)) => known = known.secret(source.to_string(), reading.value.expose().as_bytes()),
            _ => context.ui.say(&format!("note: {} was not looked for", Escaped(&source.to_string()))),
        }
    }
    known.build()
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

fn ask(rules: &Rules, asked: &Asked, scanner: &Arc<Scanner>) -> Answer {
    let target = &asked.target;
    let question = Question {
        host: &target.host,
        port: target.port,
        method: &asked.method,
        path: &target.path,
        query: target.query.as_deref(),
        method_override: asked.headers.iter().any(|(name, _)| is_method_override(name)),
    };
    let denied =
        |reason| Answer { decision: "deny", reason: Some(reason), route: None, secret: None, findings: Vec::new() };
    let permitted = match rules.permit(question) {
        Err(refused) => return denied(refused.reason),
        Ok(permitted) => permitted,
    };
    let Some(route) = rules.route(permitted.route()) else { return denied(Reason::PolicyError) };
    if route.auth.is_some() && !target.is_https {
        return denied(Reason::PlaintextCredential);
    }
    let mut found = findings(asked, scanner);
    found.retain(|finding| !route.exempt.iter().any(|rule| rule == finding.rule));
    let (decision, reason) = match route.on_finding {
        _ if found.is_empty() && route.answer.is_some() => ("answer", None),
        _ if found.is_empty() => ("allow", None),
        OnFinding::Block => ("deny", Some(Reason::Finding)),
        OnFinding::Ask => ("ask", Some(Reason::Finding)),
        OnFinding::Redact if found.iter().any(|finding| finding.span.is_none()) => ("deny", Some(Reason::Finding)),
        OnFinding::Redact | OnFinding::Log if route.answer.is_some() => ("answer", None),
        OnFinding::Redact | OnFinding::Log => ("allow", None),
    };
    Answer {
        decision,
        reason,
        route: Some(permitted.route()),
        secret: route.auth.as_ref().map(|auth: &Auth| auth.secret.to_string()),
        findings: found.iter().map(ToString::to_string).collect(),
    }
}

fn findings(asked: &Asked, scanner: &Arc<Scanner>) -> Vec<Finding> {
    let target = &asked.target;
    let whole = match &target.query {
        Some(query) => format!("{}?{query}", target.path),
        None => target.path.clone(),
    };
    let headers = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut found = scanner.request_head(target.host.as_str(), &whole, headers);
    if let Some(body) = &asked.body {
        let kind = asked.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let mut stream = scanner.stream(Shape::of(kind.map(|(_, value)| value.as_bytes())));
        stream.push(Bytes::copy_from_slice(body), &mut found);
        stream.finish(&mut found);
    }
    found
}

fn told(answer: &Answer, rules: &Rules) -> String {
    let mut lines = vec![match (answer.reason, answer.route.and_then(|index| rules.route(index))) {
        (Some(reason), _) => format!("{}: {reason} ({})", answer.decision, reason.code()),
        (None, Some(route)) if route.answer.is_some() => {
            format!("answer: by the gate itself, as the route for {} says; nothing is sent", route.host)
        }
        (None, Some(route)) => format!("allow: by the route for {}", route.host),
        (None, None) => "allow".to_owned(),
    }];
    if let (Some(secret), Some(line), None) = (&answer.secret, lines.first_mut(), answer.reason) {
        line.push_str(&format!(", with {}", Escaped(secret)));
    }
    lines.extend(answer.findings.iter().map(|finding| format!("  found: {}", Escaped(finding))));
    lines.push(String::new());
    lines.join("\n")
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
