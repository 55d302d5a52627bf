//! Gets smolvm from where packages of Python are published, and has it installed into the user's cache.
//!
//! What the index says is not trusted: it tells where the file is, and the digest that counts is the one this program
//! was built with.

use crate::{compose::Context, error::CliError, https::Endpoint};
use bottle_runtime::backend::smolmachines::{PACKAGE, Wheel, install};
use bottle_spec::notify::WebhookUrl;
use bytes::Bytes;
use http::header;
use http_body_util::Full;
use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

/// Where pip looks, too.
const INDEX: &str = "https://index.invalid/simple";
/// As pip calls it.
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
    let index = context.environment.value(INDEX_VARIABLE).unwrap_or(INDEX).trim_end_matches('/');
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::host("the event loop cannot be started").because(error))?;
    let fetched = runtime.block_on(async {
        tokio::select! {
            fetched = tokio::time::timeout(PATIENCE, fetch(index, &wheel, context)) => {
                fetched.unwrap_or_else(|_| Err(CliError::host(format!("{} took too long to come", wheel.file))))
            }
            _ = tokio::signal::ctrl_c() => Err(CliError::denied("nothing was installed")),
        }
    });
    let bytes = fetched.map_err(|error| error.next(format!("try again, or set {INDEX_VARIABLE}; else {by_hand}")))?;
    install(&wheel, &bytes, &context.dirs.smolvm()).map_err(|error| {
        CliError::host("smolvm was not installed")
            .because(error)
            .next("look at what this machine's way to the index is")
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
