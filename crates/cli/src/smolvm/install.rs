//! Gets smolvm from where packages of Python are published, and has it installed into the user's cache.
//!
//! The user's own pip knows where that is, with mirrors, proxies and credentials; where there is none, the index can be
//! named. What comes is not trusted: the digest that counts is the one this program was built with.

use crate::{compose::Context, error::CliError, https::Endpoint};
use bottle_runtime::backend::smolmachines::{PACKAGE, Wheel, install};
use bottle_spec::{escape::Escaped, notify::WebhookUrl};
use bytes::Bytes;
use http::header;
use http_body_util::Full;
use serde::Deserialize;
use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// As pip calls it. Where it is said, pip is not needed.
const INDEX_VARIABLE: &str = "PIP_INDEX_URL";
const LISTING: &str = "application/vnd.pypi.simple.v1+json";
const LONGEST_LISTING: usize = 16 << 20;
const LONGEST_WHEEL: usize = 256 << 20;
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What an index says of a package: the Simple API in JSON.
#[derive(Deserialize)]
struct Listing {
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    filename: String,
    url: String,
}

/// Fetches and installs it; where it is then.
pub(crate) fn run(context: &Context) -> Result<PathBuf, CliError> {
    let by_hand = format!("`pip install {PACKAGE}` where there is one, and name its smolvm in {}", super::VARIABLE);
    let wheel = Wheel::of_this_machine()
        .ok_or_else(|| CliError::host("smolvm is not published for machines like this one").next(by_hand.clone()))?;
    let bytes = match context.environment.value(INDEX_VARIABLE) {
        Some(index) => from_index(index.trim_end_matches('/'), &wheel, context),
        None => by_pip(&wheel, context),
    };
    let bytes = bytes.map_err(|error| error.next(format!("try again, or set {INDEX_VARIABLE}; else {by_hand}")))?;
    install(&wheel, &bytes, &context.dirs.smolvm()).map_err(|error| {
        CliError::host("smolvm was not installed")
            .because(error)
            .next("look at what this machine's way to the index is")
    })
}

/// Has pip download the one file that this program knows. Interrupted, both end.
fn by_pip(wheel: &Wheel, context: &Context) -> Result<Bytes, CliError> {
    let failed = |what: &str| CliError::host(format!("pip cannot fetch {}: {what}", wheel.file));
    let to = context.dirs.smolvm().join("fetched");
    let made = clear(&to).and_then(|()| fs::DirBuilder::new().mode(0o700).recursive(true).create(&to));
    made.map_err(|error| failed("there is no place for it").because(error))?;
    context.ui.say(&format!("fetching {}", wheel.file));
    let fixed = ["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"];
    let mut pip = Command::new("python3");
    pip.args(fixed).args(["--only-binary=:all:", "--dest"]).arg(&to).arg(wheel.requirement()).stdin(Stdio::null());
    let output = pip.output().map_err(|error| failed("there is no python3").because(error));
    let fetched = output.and_then(|output| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        if !output.status.success() {
            return Err(failed(&Escaped(last).to_string()));
        }
        fs::read(to.join(wheel.file)).map_err(|error| failed("it fetched another file").because(error))
    });
    // It is of no use any more.
    let _ = clear(&to);
    fetched.map(Bytes::from)
}

/// Takes away what an earlier try left.
fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn from_index(index: &str, wheel: &Wheel, context: &Context) -> Result<Bytes, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::host("the event loop cannot be started").because(error))?;
    runtime.block_on(async {
        tokio::select! {
            fetched = tokio::time::timeout(PATIENCE, fetch(index, wheel, context)) => {
                fetched.unwrap_or_else(|_| Err(CliError::host(format!("{} took too long to come", wheel.file))))
            }
            _ = tokio::signal::ctrl_c() => Err(CliError::denied("nothing was installed")),
        }
    })
}

async fn fetch(index: &str, wheel: &Wheel, context: &Context) -> Result<Bytes, CliError> {
    let listing = get(&format!("{index}/{PACKAGE}/"), Some(LISTING), LONGEST_LISTING).await?;
    let listing: Listing = serde_json::from_slice(&listing)
        .map_err(|error| CliError::host("the index does not answer with a list of files in JSON").because(error))?;
    let listed = listing.files.into_iter().find(|listed| listed.filename == wheel.file);
    let listed = listed.ok_or_else(|| CliError::host(format!("the index has no {}", wheel.file)))?;
    context.ui.say(&format!("fetching {}", wheel.file));
    get(&listed.url, None, LONGEST_WHEEL).await
}

async fn get(url: &str, accept: Option<&str>, limit: usize) -> Result<Bytes, CliError> {
    let failed = |what: String| CliError::host(format!("the package index cannot be used: {what}"));
    let place: WebhookUrl = url.parse().map_err(|_| {
        failed("an address of it is neither https://HOST/PATH nor http:// with this machine's loopback".to_owned())
    })?;
    let endpoint = Endpoint::of(place, None).map_err(|error| failed("no way to it".to_owned()).because(error))?;
    let host = endpoint.host();
    let mut request = endpoint.get();
    if let Some(accept) = accept {
        request = request.header(header::ACCEPT, accept);
    }
    let request = request
        .body(Full::new(Bytes::new()))
        .map_err(|error| failed("an address of it cannot be asked for".to_owned()).because(error))?;
    let (status, body) = endpoint.send(request, limit).await.map_err(|error| failed(host.clone()).because(error))?;
    if status.is_success() { Ok(body) } else { Err(failed(format!("{host} answers with {status}"))) }
}
