//! `start --all-of`: several agents side by side, after one preflight and one question.
//!
//! Invariants: nothing is started unless every one of them has its plan and its secrets; one that fails ends none of the
//! others; the exit code is that of the first in the list that failed.

use super::{StartArgs, draw, plan};
use crate::{
    commands::preflight,
    compose::Context,
    error::{CliError, in_a_line},
    launch::{self, Afterwards, Watched},
    terminal::{self, Came},
};
use bottle_runtime::protocol::LaunchRequest;
use bottle_spec::{escape::Escaped, plan::Plan, request::Request, slug::Slug};
use serde::Serialize;
use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// As a shell has it for a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// An agent of the list that has not been started yet.
struct Entry {
    request: Request,
    plan: Plan,
    slug: Slug,
}

/// How one is told in the end.
#[derive(Debug, Serialize)]
struct Told {
    agent: String,
    slug: Slug,
    /// `ended`, `running` (in the background) or `failed` (ours or the host's fault, told by `error`).
    state: &'static str,
    exit_code: Option<u8>,
    error: Option<String>,
    /// What it wrote to its stdout; `null` in the background.
    result: Option<String>,
    /// Bytes of that which came before and are left out.
    left_out: u64,
}

pub(super) fn run(args: &StartArgs, context: &Context) -> Result<ExitCode, CliError> {
    let entries = entries(args, context)?;
    if !args.launch.yes {
        ask(&entries, args.verbose, context)?;
    }
    let mut requests = Vec::with_capacity(entries.len());
    for Entry { plan, slug, .. } in entries {
        let name = Some(slug.clone());
        requests.push((slug, launch::request(plan, name, Afterwards::Keep, &args.launch, context)?));
    }
    let in_background = args.launch.detach || args.prompt.is_none();
    let all = if in_background { in_the_background(requests, context) } else { headless(requests, context)? };
    tell(&all, args.json, context)?;
    Ok(ExitCode::from(code(&all)))
}

fn entries(args: &StartArgs, context: &Context) -> Result<Vec<Entry>, CliError> {
    let mut entries: Vec<Entry> = Vec::with_capacity(args.all_of.len());
    for agent in &args.all_of {
        let (request, plan) = plan(agent, args.prompt.as_deref(), &args.launch, context)?;
        let slug = loop {
            let slug = draw(&plan.agent, context)?;
            if entries.iter().all(|entry| entry.slug != slug) {
                break slug;
            }
        };
        entries.push(Entry { request, plan, slug });
    }
    Ok(entries)
}

/// Shows each agent once, however often it is started.
fn ask(entries: &[Entry], verbose: bool, context: &Context) -> Result<(), CliError> {
    if !context.ui.can_ask() {
        return Err(CliError::usage("nobody is at a terminal to be asked")
            .next("look at `bot-bottle preflight AGENT` of each, then start them with --yes"));
    }
    let shown_as = if verbose { preflight::render } else { preflight::fitted };
    let mut shown: Vec<&str> = Vec::new();
    for Entry { plan, request, .. } in entries {
        if shown.contains(&plan.agent.as_str()) {
            continue;
        }
        let slugs: Vec<Slug> =
            entries.iter().filter(|entry| entry.plan.agent == plan.agent).map(|entry| entry.slug.clone()).collect();
        context.ui.say(&shown_as(plan, request, &slugs));
        shown.push(&plan.agent);
    }
    if context.ui.confirm(&format!("Start these {} bottles?", entries.len()))? {
        Ok(())
    } else {
        Err(CliError::denied("you said no; nothing was started"))
    }
}

fn in_the_background(requests: Vec<(Slug, LaunchRequest)>, context: &Context) -> Vec<Told> {
    let ui = &context.ui;
    let start = |(slug, request): (Slug, LaunchRequest)| {
        let agent = request.plan.agent.clone();
        let started = terminal::detached_under(request, &format!("{slug}: "), ui);
        let (state, error) = match &started {
            Ok(_) => ("running", None),
            Err(error) => ("failed", Some(error)),
        };
        let exit_code = error.map(CliError::code);
        Told { agent, slug, state, exit_code, error: error.map(in_a_line), result: None, left_out: 0 }
    };
    side_by_side(requests, start)
}

fn headless(requests: Vec<(Slug, LaunchRequest)>, context: &Context) -> Result<Vec<Told>, CliError> {
    let ui = &context.ui;
    let watched: Vec<Watched> = requests.iter().map(|(_, request)| Watched::before(&request.plan.workspace)).collect();
    let stop = interrupts(context)?;
    let start = |(slug, request): (Slug, LaunchRequest)| {
        let agent = request.plan.agent.clone();
        let Came { code, result, left_out } = terminal::headless(request, &slug, stop.clone(), ui);
        let (state, exit_code, error) = match &code {
            Ok(code) => ("ended", *code, None),
            Err(error) => ("failed", error.code(), Some(in_a_line(error))),
        };
        let how = error.as_ref().map_or_else(|| format!("exit {exit_code}"), |error| Escaped(error).to_string());
        ui.say(&format!("{slug}: {state}, {how}"));
        let result = Some(String::from_utf8_lossy(&result).into_owned());
        Told { agent, slug, state, exit_code: Some(exit_code), error, result, left_out }
    };
    let all = side_by_side(requests, start);
    watched.into_iter().for_each(|watched| watched.after(context));
    Ok(all)
}

/// Does it to all at once; what comes of them is in the same order.
fn side_by_side<T: Send, R: Send>(all: Vec<T>, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || each(one))).collect();
        // A thread that panicked has said so.
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Becomes true at the first `ctrl-c`, SIGTERM or hangup. A second ends this process at once; each keeper sees that and
/// ends its bottle.
fn interrupts(context: &Context) -> Result<watch::Receiver<bool>, CliError> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let ui = context.ui;
    let (sender, receiver) = watch::channel(false);
    let failed = |error: std::io::Error| CliError::host("no signal could be waited for").because(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if ASKED.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED.into());
                }
                ui.say("stopping all of them; once more leaves at once");
                let _ = sender.send(true);
            }
        });
    });
    Ok(receiver)
}

fn tell(all: &[Told], json: bool, context: &Context) -> Result<(), CliError> {
    if json {
        return context.ui.json(&all);
    }
    for told in all {
        match (&told.result, &told.error) {
            (None, None) => context.ui.result(&format!("{}\n", told.slug))?,
            (None, Some(error)) => context.ui.say(&format!("{}: error: {}", told.slug, Escaped(error))),
            (Some(result), error) => {
                let code = told.exit_code.unwrap_or_default();
                let how = error.as_ref().map_or_else(|| format!("exit {code}"), |error| Escaped(error).to_string());
                context.ui.result(&format!("{}: {how}\n", told.slug))?;
                if told.left_out > 0 {
                    context.ui.result(&format!("(the first {} bytes are left out)\n", told.left_out))?;
                }
                show(result, context)?;
            }
        }
    }
    Ok(())
}

/// At a terminal escaped, else as it was.
fn show(result: &str, context: &Context) -> Result<(), CliError> {
    for line in result.lines() {
        let line = if context.ui.stdout_is_terminal { Escaped(line).to_string() } else { line.to_owned() };
        context.ui.result(&format!("{line}\n"))?;
    }
    Ok(())
}

fn code(all: &[Told]) -> u8 {
    all.iter().filter_map(|told| told.exit_code).find(|code| *code != 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_list_that_failed_gives_the_code() {
        let told = |exit_code| Told {
            agent: "a".to_owned(),
            slug: Slug::new("a", [0; 5]),
            state: "ended",
            exit_code,
            error: None,
            result: None,
            left_out: 0,
        };
        for (codes, expected) in
            [(vec![Some(0), Some(3), Some(4)], 3), (vec![Some(0), None], 0), (vec![None, Some(4)], 4), (Vec::new(), 0)]
        {
            assert_eq!(code(&codes.into_iter().map(told).collect::<Vec<_>>()), expected);
        }
    }
}
