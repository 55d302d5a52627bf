//! The answers: yes, as asked or to less; no, with a word to the agent.

use super::{Found, manifest::Edit, named, shown};
use crate::{compose::Context, error::CliError, terminal::told};
use bottle_policy::grant::{Narrowing, grant, narrowed};
use bottle_runtime::client;
use bottle_spec::{
    escape::Escaped,
    notation::Period,
    operator::{Grant, OperatorDecision, Requested, Term},
    policy::PathPattern,
};
use bottle_tui::action::{self as tui, Less, Reply};
use std::process::ExitCode;

/// Say yes to a request, as it stands or to less
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// As `bot-bottle requests` names it
    id: String,
    /// Only these methods of those asked for
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Only these paths, within those asked for
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// Only these refs of those asked for
    #[arg(long = "ref", value_name = "REF")]
    refs: Vec<String>,
    /// For one request
    #[arg(long, conflicts_with_all = ["period", "bottle"])]
    once: bool,
    /// For so long, as 30s, 10m or 2h
    #[arg(long = "for", value_name = "TIME", conflicts_with = "bottle")]
    period: Option<Period>,
    /// For as long as the bottle runs
    #[arg(long)]
    bottle: bool,
    /// For as long as the bottle runs, and into its manifest, which is shown as a diff before
    #[arg(long, conflicts_with_all = ["once", "period"])]
    manifest: bool,
    /// The answer to a question
    #[arg(long, value_name = "TEXT")]
    answer: Option<String>,
    /// A word to the agent
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not show it and ask once more
    #[arg(long, short)]
    yes: bool,
}

/// Say no to a request
#[derive(Debug, clap::Args)]
pub(crate) struct DenyArgs {
    /// As `bot-bottle requests` names it
    id: String,
    /// What the agent is told
    #[arg(long)]
    reason: Option<String>,
}

pub(crate) fn approve(args: &ApproveArgs, context: &Context) -> Result<ExitCode, CliError> {
    let found = named(&args.id, context)?;
    if args.manifest && matches!(found.request.what, Requested::Push(_) | Requested::Held(_) | Requested::Question(_)) {
        let hint = "hosts, secrets for hosts and refs can be; approve this one without --manifest";
        return Err(CliError::usage("this request is for one time, and no manifest can hold it").next(hint));
    }
    let decision = yes(args, &found)?;
    let edit = match decision.grant.as_ref().filter(|_| args.manifest) {
        Some(grant) => edit(&found, grant, context)?,
        None => None,
    };
    if !args.yes {
        if !context.ui.can_ask() {
            return Err(CliError::usage("there is no terminal to ask at").next("look at it first, then add --yes"));
        }
        context.ui.say(&shown::whole(&found));
        if let Some(grant) = &decision.grant {
            context.ui.say(&format!("a yes gives {}\n", shown::grant(grant)));
        }
    }
    edit.iter().for_each(|edit| context.ui.say(&edit.diff()));
    if !args.yes && !context.ui.confirm("Approve this, as it stands here?")? {
        return Err(CliError::denied("nothing was approved; the request still waits"));
    }
    let ready = edit.map(Edit::ready).transpose()?;
    let code = answer(&found, decision, context)?;
    if let Some(ready) = ready {
        context.ui.say(&ready.put()?);
    }
    Ok(code)
}

/// What to write into the manifest, where it does not say so already.
fn edit(found: &Found, grant: &Grant, context: &Context) -> Result<Option<Edit>, CliError> {
    let edit = Edit::of(found, grant, context)?;
    if edit.is_none() {
        context.ui.say("note: the manifest gives this already; the bottle was started before it did");
    }
    Ok(edit)
}

pub(crate) fn deny(args: &DenyArgs, context: &Context) -> Result<ExitCode, CliError> {
    let found = named(&args.id, context)?;
    answer(&found, no(&found, args.reason.clone()), context)
}

/// The answer to a request as it was on a screen.
pub(crate) fn answer_shown(id: &str, digest: &str, reply: &Reply, context: &Context) -> Result<(), CliError> {
    let found = named(id, context)?;
    if found.digest != digest {
        return Err(CliError::usage("the request is not the one that was shown"));
    }
    let decision = match reply {
        Reply::Approve { term, less, answer } => approving(&found, &less_of(less, *term), answer.as_deref())?,
        Reply::Deny { why } => no(&found, why.clone()),
    };
    self::answer(&found, decision, context).map(drop)
}

fn less_of(less: &Less, term: tui::Term) -> Narrowing {
    let Less { methods, paths, refs } = less.clone();
    Narrowing {
        methods: methods.map(upper_case),
        paths: paths.map(|paths| paths.into_iter().map(PathPattern).collect()),
        refs,
        term: match term {
            tui::Term::AsAsked => None,
            tui::Term::Once => Some(Term::Once),
            tui::Term::Minutes(minutes) => Some(Term::Seconds(minutes.saturating_mul(60))),
            tui::Term::Bottle => Some(Term::Bottle),
        },
    }
}

fn upper_case(methods: Vec<String>) -> Vec<String> {
    methods.into_iter().map(|method| method.to_ascii_uppercase()).collect()
}

fn no(found: &Found, why: Option<String>) -> OperatorDecision {
    OperatorDecision { why, ..OperatorDecision::no(&found.request.id, found.digest.clone(), "") }
}

/// The yes, with what it gives: computed from the request that is shown and the bottle's plan.
fn yes(args: &ApproveArgs, found: &Found) -> Result<OperatorDecision, CliError> {
    let decision = approving(found, &narrowing(args), args.answer.as_deref())?;
    Ok(OperatorDecision { why: args.reason.clone(), ..decision })
}

fn approving(found: &Found, narrowing: &Narrowing, answer: Option<&str>) -> Result<OperatorDecision, CliError> {
    let (asked, decision) = granting(found, narrowing)?;
    let answer = match (&asked, answer) {
        (Requested::Question(_), None) => {
            return Err(CliError::usage("a question takes an answer").next("add --answer TEXT"));
        }
        (Requested::Question(question), Some(answer)) if !question.choices.is_empty() => {
            // As it was asked, or as a screen could show it.
            let chosen = |choice: &&String| *choice == answer || Escaped(choice).to_string() == answer;
            Some(question.choices.iter().find(chosen).cloned().ok_or_else(|| no_choice(&question.choices))?)
        }
        (Requested::Question(_), Some(answer)) => Some(answer.to_owned()),
        (_, Some(_)) => return Err(CliError::usage("only a question takes an answer")),
        (_, None) => None,
    };
    Ok(OperatorDecision { answer, ..decision })
}

fn no_choice(choices: &[String]) -> CliError {
    let choices: Vec<String> = choices.iter().map(|choice| Escaped(choice).to_string()).collect();
    CliError::usage("this is none of the choices").next(format!("the choices are: {}", choices.join("; ")))
}

/// What is left of the request, and the yes to that.
fn granting(found: &Found, narrowing: &Narrowing) -> Result<(Requested, OperatorDecision), CliError> {
    let unfit = |error| CliError::usage("this cannot be granted").because(error);
    let asked = narrowed(&found.request.what, narrowing).map_err(unfit)?;
    let grant = grant(&found.request.id, &asked, &found.plan).map_err(unfit)?;
    Ok((asked, OperatorDecision { allow: true, grant, ..no(found, None) }))
}

fn narrowing(args: &ApproveArgs) -> Narrowing {
    let some = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec());
    let period = args.period.map(|Period(seconds)| Term::Seconds(seconds));
    let term = if args.once {
        Some(Term::Once)
    } else {
        period.or_else(|| (args.bottle || args.manifest).then_some(Term::Bottle))
    };
    Narrowing {
        methods: some(&args.methods).map(upper_case),
        paths: some(&args.paths).map(|paths| paths.into_iter().map(PathPattern).collect()),
        refs: some(&args.refs),
        term,
    }
}

/// The keeper writes it down, and comes back when it is in force.
fn answer(found: &Found, decision: OperatorDecision, context: &Context) -> Result<ExitCode, CliError> {
    let kind = found.request.what.kind();
    let notice = client::decide(&context.dirs, &found.bottle, decision, kind).map_err(told)?;
    if !notice.is_empty() {
        context.ui.say(&format!("{}\n", Escaped(&notice)));
    }
    Ok(ExitCode::SUCCESS)
}
