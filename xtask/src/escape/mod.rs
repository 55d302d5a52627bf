//! `cargo xtask escape BACKEND`: the probe on the bare host as control, then in a bottle, as root and as an ordinary
//! user.
//!
//! The suite fails on an escape, and it fails as well where the control does not escape although it must: a suite
//! that cannot fail proves nothing. Besides what the probe says, the upstream's own record is read: a request that
//! should never have arrived is an escape whether the probe noticed or not.

mod arena;
mod judge;
mod table;

use crate::build::{self, Profile};
use anyhow::{Context, Result, bail, ensure};
use arena::{Arena, Rooms, User};
use bottle_probe::{Control, Outcome, Report, cases};
use bottle_testkit::{Engine, engine::Make};

/// Which of how many.
type Part = Option<(usize, usize)>;

pub(crate) fn run(backend: &str, options: &[&str]) -> Result<()> {
    let (engine, topology) = match backend.rsplit_once('-') {
        Some((engine, topology @ ("stream" | "sent"))) => (engine, topology),
        _ => (backend, "socket"),
    };
    let make = Make::named(engine);
    ensure!(
        ["namespace", "smolmachines"].contains(&backend) || make.is_some(),
        "no escape suite for the backend `{backend}` yet; there is one for namespace, docker and podman, \
         each also with -stream and -sent, and smolmachines"
    );
    let machines = backend == "smolmachines";
    if machines && std::env::var_os(bottle_testkit::smolvm::REAL).is_none() {
        println!(
            "with a stand-in for smolvm: the room within a machine, without the machine (`cargo xtask emulated \
             smolmachines escape` has the real one; where machines start, {} names it)",
            bottle_testkit::smolvm::REAL
        );
    }
    let engine = make.and_then(Engine::shared);
    if make.is_some() && engine.is_none() {
        // The reason has been printed.
        return Ok(());
    }
    let (built, options): (Vec<&str>, Vec<&str>) = options.iter().copied().partition(|option| *option == "--built");
    let (part, options) = part(&options)?;
    let mut users = users(options)?;
    if machines {
        // Root is refused there.
        users.retain(|user| *user == User::Ordinary);
        ensure!(!users.is_empty(), "root has no machines");
    }
    let find = |name: &str| if built.is_empty() { build::binary(name, Profile::Dev) } else { build::beside(name) };
    let (program, probe) = (find("bot-bottle")?, find("bottle-probe")?);
    let mut faults = Vec::new();
    for user in users {
        let rooms = match &engine {
            Some(engine) => Rooms::Containers { engine, topology },
            None if machines => Rooms::Machines,
            None => Rooms::Namespaces,
        };
        let arena = Arena::set(&program, &probe, user, rooms, part)?;
        let control = arena.on_the_bare_host().context("the control run")?;
        faults.extend(unable_to_fail(&control, user, part).into_iter().map(|it| format!("{user}, bare host: {it}")));
        let held = match arena.in_a_bottle() {
            Ok(held) => held,
            Err(error) => {
                // What is left behind then ends this program before it comes to its faults.
                eprintln!("escape: {user}, bottle: {error:#}");
                faults.push(format!("{user}: no bottle"));
                continue;
            }
        };
        table::print(&user.to_string(), &control, &held);
        faults.extend(missing(&held, part).into_iter().map(|it| format!("{user}: {it} did not report")));
        faults.extend(escapes(&held).into_iter().map(|it| format!("{user}, bottle: {it}")));
        faults.extend(arena.trespasses().into_iter().map(|it| format!("{user}, bottle: {it} reached the upstream")));
    }
    for fault in &faults {
        eprintln!("escape: {fault}");
    }
    ensure!(faults.is_empty(), "{} faults", faults.len());
    println!("escape {backend}: nothing got out");
    Ok(())
}

/// `--part 2/5` in front of the others, where a machine is too slow for the whole suite at once.
fn part<'a>(options: &'a [&'a str]) -> Result<(Part, &'a [&'a str])> {
    let ["--part", part, rest @ ..] = options else { return Ok((None, options)) };
    let numbers = part.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    let numbers: (usize, usize) = numbers.with_context(|| format!("`{part}` is no part: as in --part 2/5"))?;
    ensure!((1..=numbers.1).contains(&numbers.0), "there is no part {part}");
    println!("part {part} of the suite");
    Ok((Some(numbers), rest))
}

fn users(options: &[&str]) -> Result<Vec<User>> {
    let root = bottle_testkit::env::is_root();
    match options {
        [] if root => Ok(vec![User::Root, User::Ordinary]),
        [] => {
            println!("SKIPPED(not root): the suite as root");
            Ok(vec![User::Ordinary])
        }
        ["--user", "ordinary"] => Ok(vec![User::Ordinary]),
        ["--user", "root"] if root => Ok(vec![User::Root]),
        _ => bail!(
            "options: --user root (as root) or --user ordinary, after --part K/N for a part; --built to build nothing"
        ),
    }
}

/// Cases without a report: a probe that died early must not pass for one that found nothing.
fn missing(reports: &[Report], part: Part) -> Vec<&'static str> {
    let reported = |name: &str| reports.iter().any(|report| report.name == name);
    cases::part(part).iter().map(|case| case.name).filter(|name| !reported(name)).collect()
}

fn escapes(reports: &[Report]) -> Vec<String> {
    let escaped = |report: &Report| match &report.outcome {
        Outcome::Escaped(evidence) => Some(format!("ESCAPED: {}: {evidence}", report.name)),
        _ => None,
    };
    reports.iter().filter_map(escaped).collect()
}

/// Cases that must escape where nothing holds them, and did not.
fn unable_to_fail(control: &[Report], user: User, part: Part) -> Vec<String> {
    let must = |case: &cases::Case| match case.control {
        Control::Escapes => true,
        Control::EscapesAsRoot => user == User::Root,
        Control::Depends | Control::NotOnHost => false,
    };
    let escaped =
        |name: &str| control.iter().any(|report| report.name == name && matches!(report.outcome, Outcome::Escaped(_)));
    let silent = cases::part(part).into_iter().filter(|case| must(case) && !escaped(case.name));
    silent.map(|case| format!("{} does not escape there, so it proves nothing", case.name)).collect()
}
