//! `bot-bottle preflight`, and what `start` shows before it asks.

mod fit;

use super::start;
use crate::{compose::Context, error::CliError, launch::LaunchArgs, terminal::window_size};
use bottle_spec::{
    escape::Escaped,
    git::{Approval, GitRepository, RefPattern},
    plan::{Image, Limits, MachineDoors, MachineNetwork, MachineProfile, Plan, PlannedSecret, Workspace},
    policy::{Auth, Budget, Budgets, Carrier, Inbound, OnFinding, Route, Tls},
    request::Request,
    secret::SecretRef,
    slug::Slug,
    topology::Topology,
};
use std::{collections::BTreeSet, fmt::Write as _, process::ExitCode};

const NONE: &str = "(none)";
const CANARIES: &str = "false credentials in the home; one that leaves freezes the bottle";
/// A longer command is cut: it may carry a whole prompt.
const COMMAND_SHOWN: usize = 160;

/// Show what `start` would launch, and launch nothing
#[derive(Debug, clap::Args)]
pub(crate) struct PreflightArgs {
    /// The agent, as in agents/NAME.md
    agent: String,
    /// The whole plan as JSON
    #[arg(long)]
    json: bool,
    /// Also what would not fit on the screen
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    launch: LaunchArgs,
}

pub(crate) fn run(args: PreflightArgs, context: &Context) -> Result<ExitCode, CliError> {
    let (request, plan) = start::plan(&args.agent, None, &args.launch, context)?;
    let slug = args.launch.name.as_slice();
    if context.ui.stdout_is_terminal && !args.json && !args.verbose {
        context.ui.result(&fitted(&plan, &request, slug))?;
    } else {
        show(&plan, &request, args.launch.name.as_ref(), args.json, context)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn show(
    plan: &Plan,
    request: &Request,
    slug: Option<&Slug>,
    json: bool,
    context: &Context,
) -> Result<(), CliError> {
    if json {
        context.ui.json(plan)
    } else {
        context.ui.result(&render(plan, request, slug.map_or(&[], std::slice::from_ref)))
    }
}

/// What stands at the left, and the lines beside it.
type Row = (&'static str, Vec<String>);

/// Everything that a person should weigh before they say yes. Each value is escaped. Without slugs, one is to be drawn.
pub(crate) fn render(plan: &Plan, request: &Request, slugs: &[Slug]) -> String {
    text(&rows(plan, request, slugs))
}

fn backend(plan: &Plan) -> String {
    if let Some(MachineProfile { smolvm, doors: MachineDoors::Sockets, network: MachineNetwork::None, warm }) =
        &plan.machine
    {
        let warm = if *warm { ", and it starts as a branch of a prepared machine" } else { "" };
        let backend = plan.backend.as_str();
        return format!("{backend}, by smolvm {smolvm}: its doors are sockets, and it has no network{warm}");
    }
    match plan.topology {
        Topology::Socket => plan.backend.as_str().to_owned(),
        Topology::Stream => format!("{}, by {}", plan.backend.as_str(), plan.topology),
        Topology::Sent => {
            format!("{}, by stream; files are sent to the engine and come back at the end", plan.backend.as_str())
        }
    }
}

/// The same, on one screen.
pub(crate) fn fitted(plan: &Plan, request: &Request, slugs: &[Slug]) -> String {
    text(&fit::fit(rows(plan, request, slugs), window_size().unwrap_or(fit::SMALLEST)))
}

fn rows(plan: &Plan, request: &Request, slugs: &[Slug]) -> Vec<Row> {
    let slug = match slugs {
        [] => format!("{}-…", plan.agent),
        slugs => slugs.iter().map(Slug::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut rows: Vec<Row> = vec![
        ("backend", vec![backend(plan)]),
        ("agent", vec![plan.agent.clone()]),
        ("provider", vec![plan.provider.name.clone()]),
        ("command", vec![command(&plan.command)]),
        ("bottle", plan.bottle.iter().cloned().collect()),
        ("slug", vec![slug]),
        ("image", image(plan)),
        ("workspace", workspace(&plan.workspace)),
        ("mounts", mounts(plan)),
        ("env", one_line(env_names(plan, request))),
        ("secrets", secrets(plan)),
        ("canaries", plan.canaries.then(|| CANARIES.to_owned()).into_iter().collect()),
        ("skills", one_line(plan.skills.iter().map(|skill| skill.name.clone()).collect())),
        ("git", plan.git.iter().map(repository).collect()),
        ("routes", routes(plan)),
        ("budgets", one_line(budgets(&plan.egress.budgets))),
        ("limits", one_line(limits(&plan.limits))),
        ("ports", one_line(plan.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect())),
    ];
    if !plan.notices.is_empty() {
        rows.push(("note", plan.notices.clone()));
    }
    // Escaped here: what is cut to a screen's width is what is shown.
    rows.iter_mut().for_each(|(_, values)| values.iter_mut().for_each(|value| *value = Escaped(value).to_string()));
    rows
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for (name, values) in rows {
        row(&mut text, name, values);
    }
    text
}

fn row(text: &mut String, name: &str, values: &[String]) {
    let none = [NONE.to_owned()];
    let values = if values.is_empty() { &none } else { values };
    for (index, value) in values.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        let _ = writeln!(text, "{name:<10} {value}");
    }
}

fn one_line(values: Vec<String>) -> Vec<String> {
    if values.is_empty() { values } else { vec![values.join(", ")] }
}

fn command(argv: &[String]) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    let quoted = |word: &String| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let whole = argv.iter().map(quoted).collect::<Vec<_>>().join(" ");
    match whole.char_indices().nth(COMMAND_SHOWN) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

/// With what its name stands for now: that is what runs, also when the bottle is resumed.
fn image(plan: &Plan) -> Vec<String> {
    [Some(image_name(&plan.image)), plan.image_id.clone()].into_iter().flatten().collect()
}

fn image_name(image: &Image) -> String {
    match image {
        Image::Host => "host".to_owned(),
        Image::Dockerfile(path) => format!("dockerfile:{}", path.display()),
        Image::Reference(text) => text.clone(),
        Image::DockerArchive(path) => format!("docker-archive:{}", path.display()),
        Image::OciArchive(path) => format!("oci-archive:{}", path.display()),
        Image::Dir(path) => format!("dir:{}", path.display()),
        Image::Smolmachine(path) => format!("smolmachine:{}", path.display()),
        Image::Provider(base) => format!("provider:{base}"),
    }
}

fn workspace(workspace: &Workspace) -> Vec<String> {
    match workspace {
        Workspace::None => Vec::new(),
        Workspace::Copy { source } => vec![format!("a copy of {}", source.display())],
        Workspace::Clone { source } => vec![format!("a clone of {}, with what is not committed", source.display())],
        Workspace::Mount { source } => {
            vec![format!("{} itself, writable but for what this host would run", source.display())]
        }
    }
}

fn mounts(plan: &Plan) -> Vec<String> {
    let line = |mount: &bottle_spec::plan::Mount| {
        let mode = if mount.writable { "writable" } else { "read-only" };
        format!("{} at {}, {mode}", mount.source.display(), mount.target.display())
    };
    plan.mounts.iter().map(line).collect()
}

/// What was asked for and what stands in for secrets; not the forty that every bottle has.
fn env_names(plan: &Plan, request: &Request) -> Vec<String> {
    let injected = plan.secrets.iter().filter(|secret| secret.injected);
    let placeholders = injected.filter_map(|secret| match &secret.source {
        SecretRef::Env(name) => Some(name.clone()),
        _ => None,
    });
    let names: BTreeSet<String> = request.env.keys().cloned().chain(placeholders).collect();
    names.into_iter().collect()
}

fn secrets(plan: &Plan) -> Vec<String> {
    let line = |secret: &PlannedSecret| {
        let protected = if secret.injected { "" } else { ", protected" };
        format!("{}{protected}", secret.source)
    };
    plan.secrets.iter().map(line).collect()
}

fn routes(plan: &Plan) -> Vec<String> {
    let resolve = &plan.egress.resolve;
    let mut lines: Vec<String> = plan.egress.routes.iter().map(route).collect();
    lines.extend(resolve.iter().map(|(host, address)| format!("{host} is reached at {address}")));
    lines.extend(plan.egress.upstream_ca.iter().map(|path| format!("certificates in {} are trusted", path.display())));
    lines.extend(
        plan.egress.upstream_proxy.iter().map(|proxy| format!("through the proxy {}:{}", proxy.host, proxy.port)),
    );
    lines
}

fn repository(repository: &GitRepository) -> String {
    let mut line = format!("{} is {}", repository.name, repository.upstream);
    match &repository.push {
        None => line.push_str("  fetch only"),
        Some(push) => {
            let refs: Vec<&str> = push.refs.iter().map(RefPattern::as_str).collect();
            line.push_str(&format!("  push {}", refs.join(" ")));
            line.push_str(if push.approval == Approval::Ask { ", each asked about" } else { ", unasked" });
            for (allowed, what) in [(push.delete, ", deletions too"), (push.force, ", lost commits too")] {
                line.push_str(if allowed { what } else { "" });
            }
        }
    }
    if let Some(identity) = &repository.identity_file {
        line.push_str(&format!("  key {}", identity.display()));
    }
    if let Some(auth) = &repository.auth {
        line.push_str(&format!("  {}", sent(auth)));
    }
    line
}

fn route(route: &Route) -> String {
    let ports: Vec<String> = route.ports.iter().map(u16::to_string).collect();
    let mut line = format!("{}:{}", route.host, ports.join(","));
    let methods = route.methods.as_ref().map_or_else(|| "all methods".to_owned(), |methods| methods.join(","));
    let paths = route.paths.as_ref().map_or_else(
        || "all paths".to_owned(),
        |paths| paths.iter().map(|path| path.0.as_str()).collect::<Vec<_>>().join(" "),
    );
    match route.tls {
        Tls::Intercept => line.push_str(&format!("  {methods}  {paths}")),
        Tls::Passthrough => line.push_str("  passed through unseen"),
    }
    if route.private {
        line.push_str("  private addresses too");
    }
    match route.on_finding {
        OnFinding::Block => {}
        OnFinding::Redact => line.push_str("  findings redacted"),
        OnFinding::Ask => line.push_str("  findings asked about"),
        OnFinding::Log => line.push_str("  findings logged only"),
    }
    if route.ask {
        line.push_str("  each asked about");
    }
    match route.inbound {
        Inbound::Warn => {}
        Inbound::Strip => line.push_str("  orders to the agent stripped"),
        Inbound::Block => line.push_str("  orders to the agent block"),
        Inbound::Off => line.push_str("  responses not looked at"),
    }
    if !route.exempt.is_empty() {
        line.push_str(&format!("  not searched for {}", route.exempt.join(",")));
    }
    if route.answer.is_some() {
        line.push_str("  answered by the gate");
    }
    if let Some(auth) = &route.auth {
        line.push_str(&format!("  {}", sent(auth)));
    }
    line
}

fn sent(auth: &Auth) -> String {
    let carrier = match &auth.carrier {
        Carrier::Bearer => "as bearer".to_owned(),
        Carrier::Basic => "as basic".to_owned(),
        Carrier::Header(name) => format!("in header {name}"),
        Carrier::Query(name) => format!("in query {name}"),
    };
    format!("{} {carrier}", auth.secret)
}

fn limits(limits: &Limits) -> Vec<String> {
    let cpus = |millis: u32| format!("cpus {}", f64::from(millis) / 1000.0);
    let items = [
        limits.cpu_millis.map(cpus),
        limits.memory.map(|bytes| format!("memory {}", size(bytes))),
        limits.pids.map(|pids| format!("pids {pids}")),
        limits.disk.map(|bytes| format!("disk {}", size(bytes))),
    ];
    items.into_iter().flatten().collect()
}

/// In one period.
fn budgets(budgets: &Budgets) -> Vec<String> {
    let of = |budget: Budget, whose: &str| {
        let bytes = budget.bytes.map(|bytes| format!("{} sent{whose}", size(bytes)));
        let requests = budget.requests.map(|count| format!("{count} requests{whose}"));
        bytes.into_iter().chain(requests)
    };
    let hosts = budgets.hosts.map(|hosts| format!("{hosts} names below wildcards"));
    let random = budgets.random.map(|bytes| format!("{} of random text in their URLs", size(bytes)));
    let items = of(budgets.bottle, "").chain(of(budgets.host, " to each host")).chain(hosts).chain(random);
    let mut items: Vec<String> = items.collect();
    if let Some(first) = items.first_mut() {
        first.insert_str(0, &format!("in {}: ", span(budgets.period)));
    }
    items
}

/// In the largest unit that divides it.
fn span(seconds: u32) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let fitting = units.into_iter().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{seconds}s"), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// In the largest unit that divides it.
fn size(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    let fitting = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{bytes}B"), |(name, unit): (&str, u64)| format!("{}{name}", bytes / unit))
}
