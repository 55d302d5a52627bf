//! Package registries and a git server as small as their clients allow: one package, `bottled`, version 1.0.0.

use crate::upstream::{
    Asked, Handler,
    routes::{self, full},
};
use http::{HeaderValue, Response};
use serde_json::json;
use std::sync::Arc;

/// The commit that the git server's `main` is at.
pub const COMMIT: &str = "4242424242424242424242424242424242424242";

/// Answers for `host`; what is no registry's is answered by [`routes::answer`].
///
/// `/simple/` pip and uv · `/npm/` npm · `/crates/` cargo (sparse) · `/go/` go · `/git/repo` git, the dumb protocol.
pub fn handler(host: &str) -> Handler {
    let host: Arc<str> = host.into();
    Arc::new(move |asked: Asked| match answer(&host, asked.seen.path()) {
        Some((kind, text)) => {
            let mut response = Response::new(full(text));
            response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
            Box::pin(async move { response })
        }
        None => Box::pin(routes::answer(asked)),
    })
}

fn answer(host: &str, path: &str) -> Option<(&'static str, String)> {
    let json = "application/json";
    Some(match path {
        "/simple/bottled/" => {
            let link = r#"<a href="/files/bottled-1.0.0-py3-none-any.whl" data-core-metadata="true">bottled-1.0.0-py3-none-any.whl</a>"#;
            ("text/html", format!("<!DOCTYPE html><html><body>{link}</body></html>"))
        }
        "/files/bottled-1.0.0-py3-none-any.whl.metadata" => {
            ("text/plain", "Metadata-Version: 2.1\nName: bottled\nVersion: 1.0.0\n".to_owned())
        }
        "/npm/bottled" => {
            let version =
                json!({"name": "bottled", "version": "1.0.0", "dist": {"tarball": format!("https://{host}/x.tgz")}});
            let all = json!({"name": "bottled", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
            (json, all.to_string())
        }
        "/crates/config.json" => {
            (json, json!({"dl": format!("https://{host}/dl"), "api": format!("https://{host}")}).to_string())
        }
        "/api/v1/crates" => {
            let found = json!({"name": "bottled", "max_version": "1.0.0", "description": "a crate"});
            (json, json!({"crates": [found], "meta": {"total": 1}}).to_string())
        }
        "/git/repo/info/refs" => ("text/plain", format!("{COMMIT}\trefs/heads/main\n")),
        "/git/repo/HEAD" => ("text/plain", "ref: refs/heads/main\n".to_owned()),
        path if path == format!("/go/{host}/bottled/@v/list") => ("text/plain", "v1.0.0\n".to_owned()),
        path if path == format!("/go/{host}/bottled/@v/v1.0.0.info") => {
            (json, json!({"Version": "v1.0.0", "Time": "2024-01-01T00:00:00Z"}).to_string())
        }
        path if path == format!("/go/{host}/bottled/@v/v1.0.0.mod") => {
            ("text/plain", format!("module {host}/bottled\n"))
        }
        _ => return None,
    })
}
