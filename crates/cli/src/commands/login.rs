//! `bot-bottle login`, and the hidden `login-token`, which renews a login for a keeper.

use crate::{
    catalog,
    compose::Context,
    error::CliError,
    login::{Listed, LoginError, Logins},
    time::rfc3339,
};
use bottle_spec::{escape::Escaped, login::LoginSource, notation::Name, secret::Secret};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// Take over the login of a client that you have logged in with, once for all bottles
///
/// The gate sends the access token; bottles hold a placeholder. The login is renewed on the host, by one process for all
/// bottles, and written back to the client's file, so that you stay logged in there too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a provider the logins are listed.")]
pub(crate) struct LoginArgs {
    /// The client's provider, as claude or codex
    provider: Option<String>,
    /// The client's file, where it is not in its usual place
    #[arg(long, value_name = "FILE", requires = "provider")]
    from: Option<PathBuf>,
    /// Renew the login now
    #[arg(long, requires = "provider", conflicts_with_all = ["from", "remove"])]
    renew: bool,
    /// Forget the login; the client keeps its own
    #[arg(long, requires = "provider", conflicts_with = "from")]
    remove: bool,
    /// Print the logins as JSON, without their tokens
    #[arg(long, conflicts_with = "provider")]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    name: String,
}

pub(crate) fn run(args: &LoginArgs, context: &Context) -> Result<ExitCode, CliError> {
    let logins = Logins::of(context);
    args.provider.as_deref().map_or(Ok(()), check)?;
    match &args.provider {
        None => list(&logins, args.json, context)?,
        Some(name) if args.remove => {
            if !logins.remove(name).map_err(|error| told(name, error))? {
                return Err(told(name, LoginError::Unknown(name.clone())));
            }
            context.ui.say(&format!("the login {name} is forgotten; the client keeps its own"));
        }
        Some(name) if args.renew => {
            let held = logins.access(name, None).map_err(|error| told(name, error))?;
            let fresh = logins.access(name, Some(&held.value)).map_err(|error| told(name, error))?;
            context.ui.say(&format!("renewed: {name}{}", until(fresh.until)));
        }
        Some(name) => import(name, args.from.as_deref(), &logins, context)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// It names a file.
fn check(name: &str) -> Result<(), CliError> {
    let named: Result<Name, _> = name.parse();
    named.map(drop).map_err(|error| CliError::usage(format!("`{}` does not name a provider: {error}", Escaped(name))))
}

fn import(name: &str, from: Option<&Path>, logins: &Logins, context: &Context) -> Result<(), CliError> {
    let provider = catalog::provider(name, context)?;
    let how = provider.login.ok_or_else(|| {
        CliError::usage(format!("the provider {name} has no login")).next("its credential is a key: see docs/agents.md")
    })?;
    let from = from.map_or_else(|| place(&how, context), |path| context.cwd.join(path));
    logins.import(name, how, &from).map_err(|error| {
        let next = format!("log in with {name} itself, or name its file with --from");
        CliError::host(format!("the login of {name} cannot be taken over")).because(error).next(next)
    })?;
    let login = logins.list().into_iter().find(|login| login.name == name);
    let ends = login.map(|login| until(login.until)).unwrap_or_default();
    context.ui.say(&format!("taken over from {}{ends}", Escaped(&context.short(&from))));
    context.ui.say(&format!("agents with `provider: {name}` use it from their next start on"));
    Ok(())
}

fn place(how: &LoginSource, context: &Context) -> PathBuf {
    let named = how.folder_variable.as_deref().and_then(|variable| context.environment.value(variable));
    named.map_or_else(|| context.home.join(&how.folder), |folder| context.cwd.join(folder)).join(&how.file)
}

fn list(logins: &Logins, json: bool, context: &Context) -> Result<(), CliError> {
    let listed = logins.list();
    if json {
        return context.ui.json(&listed);
    }
    if listed.is_empty() {
        context.ui.say("there is no login; `bot-bottle login claude` takes one over");
    }
    for Listed { name, from, until: ends, renewals, .. } in listed {
        let from = Escaped(&context.short(&from)).to_string();
        context.ui.result(&format!("{name}  {from}  renewed {renewals} times{}\n", until(ends)))?;
    }
    Ok(())
}

/// The token's end, where it is known.
fn until(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(String::new, |until| format!(", its token holds until {}", rfc3339(until)))
}

fn told(name: &str, error: LoginError) -> CliError {
    let next = error.next_step().replace("NAME", name);
    CliError::host(format!("the login {} cannot be used", Escaped(name))).because(error).next(next)
}

/// Reads the token that is held from standard input, and prints one that is not it.
pub(crate) fn token(args: &TokenArgs, context: &Context) -> Result<ExitCode, CliError> {
    // Others of the same user could read it otherwise.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let mut held = Zeroizing::new(String::new());
    io::stdin().take(64 << 10).read_to_string(&mut held).map_err(|error| CliError::host("no token").because(error))?;
    check(&args.name)?;
    let held = Some(Secret::new(held.to_string())).filter(|held| !held.expose().is_empty());
    let access = Logins::of(context).access(&args.name, held.as_ref()).map_err(|error| told(&args.name, error))?;
    let line = Zeroizing::new(serde_json::to_vec(&access).map_err(|error| CliError::bug(error.to_string()))?);
    context.ui.bytes(&line)?;
    Ok(ExitCode::SUCCESS)
}
