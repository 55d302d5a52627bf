//! The agent's environment: what a program expects of a Linux machine, and where to find the gate and its authority,
//! in the words of every tool that has words of its own for it.

use crate::{
    door::PROXY_PORT,
    facts::HostFacts,
    plan::{Image, PlannedSecret},
    request::{Request, WorkspaceMode},
    secret::SecretRef,
};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

pub const AGENT_HOME: &str = "/home/agent";
/// The system's roots and the bottle's own authority, PEM.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The bottle's own authority alone, PEM: for tools that add to their roots instead of replacing them.
pub const CA_FILE: &str = "/etc/bot-bottle/ca.pem";
/// The same roots as [`CA_BUNDLE`], PKCS #12.
pub const TRUST_STORE: &str = "/etc/bot-bottle/truststore.p12";
/// The agent's prompt, Markdown; always there, and empty where the agent has none.
pub const PROMPT_FILE: &str = "/etc/bot-bottle/prompt.md";
/// The servers of the Model Context Protocol that the bottle has, as clients list them in JSON.
pub const MCP_FILE: &str = "/etc/bot-bottle/mcp.json";
const TRUST_STORE_PASSWORD: &str = "changeit";

/// What never goes through the proxy.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Variables that take the whole bundle, each with who reads it.
const BUNDLE_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",                      // OpenSSL, Go, rustls-native-certs, Python ssl and httpx, Ruby
    "REQUESTS_CA_BUNDLE",                 // Python requests
    "CURL_CA_BUNDLE",                     // curl
    "GIT_SSL_CAINFO",                     // git
    "CARGO_HTTP_CAINFO",                  // cargo
    "PIP_CERT",                           // pip
    "npm_config_cafile",                  // npm, pnpm
    "YARN_HTTPS_CA_FILE_PATH",            // yarn 2 and later
    "AWS_CA_BUNDLE",                      // AWS CLI and SDKs
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
    "BUNDLE_SSL_CA_CERT",                 // bundler
    "COMPOSER_CAFILE",                    // composer
    "HEX_CACERTS_PATH",                   // mix
    "NIX_SSL_CERT_FILE",                  // nix
    "PERL_LWP_SSL_CA_FILE",               // Perl LWP
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",   // gRPC
];

/// Variables that take certificates to add to the tool's own roots.
const EXTRA_VARIABLES: &[&str] = &[
    "NODE_EXTRA_CA_CERTS",  // Node, Bun
    "DENO_CERT",            // Deno
    "CODEX_CA_CERTIFICATE", // Codex
];

const PROXY_VARIABLES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "YARN_HTTP_PROXY",
    "YARN_HTTPS_PROXY",
];

const SWITCHES: &[(&str, &str)] = &[
    // fetch() and http.request() of Node 22.21, 24 and later obey the proxy variables only then.
    ("NODE_USE_ENV_PROXY", "1"),
    // uv uses its own roots unless told; the first is the older name.
    ("UV_NATIVE_TLS", "true"),
    ("UV_SYSTEM_CERTS", "true"),
    ("DENO_TLS_CA_STORE", "system,mozilla"),
];

/// The whole environment. What the provider sets goes before what every bottle has, and what the request sets before
/// both; a secret's placeholder is set last and only where the name is
/// still free.
pub(super) fn environment(
    request: &Request,
    provided: &BTreeMap<String, String>,
    secrets: &[PlannedSecret],
    host: &HostFacts,
) -> BTreeMap<String, String> {
    // What an image sets goes before all else.
    let mut env = host.engine.as_ref().map(|engine| engine.image_env.clone()).unwrap_or_default();
    machine(&mut env, request, host);
    gate(&mut env);
    if !request.git.is_empty() || request.workspace.value == WorkspaceMode::Clone {
        env.insert("GIT_GATE_URL".to_owned(), crate::git::DOOR_URL.to_owned());
        // A git that was not built for `/usr` looks for it elsewhere.
        env.insert("GIT_CONFIG_SYSTEM".to_owned(), "/etc/gitconfig".to_owned());
    }
    if request.supervise.as_ref().is_none_or(|supervise| supervise.value) {
        env.insert("BOT_BOTTLE_MCP_URL".to_owned(), crate::door::MCP_URL.to_owned());
    }
    if host.programs.contains("java") || request.image.value != Image::Host {
        env.insert("JAVA_TOOL_OPTIONS".to_owned(), java_options());
    }
    if !request.prompt.is_empty() {
        env.insert("BOT_BOTTLE_PROMPT".to_owned(), request.prompt.clone());
        env.insert("BOT_BOTTLE_PROMPT_FILE".to_owned(), PROMPT_FILE.to_owned());
    }
    env.extend(provided.clone());
    env.extend(request.env.clone());
    for secret in secrets.iter().filter(|secret| secret.injected) {
        if let SecretRef::Env(name) = &secret.source {
            env.entry(name.clone()).or_insert_with(|| secret.placeholder.clone());
        }
    }
    env
}

fn machine(env: &mut BTreeMap<String, String>, request: &Request, host: &HostFacts) {
    let is_host_image = request.image.value == Image::Host;
    let shell = match env.get("SHELL") {
        Some(of_image) => of_image.clone(),
        None if is_host_image && host.programs.contains("bash") => "/bin/bash".to_owned(),
        None => "/bin/sh".to_owned(),
    };
    let path = path(host, env.get("PATH").filter(|path| !path.is_empty()));
    let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    set("PATH", &path);
    set("HOME", AGENT_HOME);
    set("USER", "agent");
    set("LOGNAME", "agent");
    set("SHELL", &shell);
    set("LANG", "C.UTF-8");
    set("TERM", host.term.as_deref().unwrap_or("xterm-256color"));
    // So that a program can tell where it is; nothing depends on it.
    set("BOT_BOTTLE", &request.agent);
    if request.workspace.value != WorkspaceMode::None {
        set("BOT_BOTTLE_WORKSPACE", crate::plan::Workspace::TARGET);
    }
    if let Some(zone) = &host.time_zone {
        set("TZ", zone);
    }
    if let Some(color) = &host.color_term {
        set("COLORTERM", color);
    }
    // The host's image has the host's locales; another has those it has.
    if is_host_image {
        env.extend(host.locale.clone());
    }
}

/// What the agent installs itself, then what runs the agent, then the system.
fn path(host: &HostFacts, of_image: Option<&String>) -> String {
    const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if let Some(path) = of_image {
        return format!("{AGENT_HOME}/.local/bin:{path}");
    }
    let folders = host.agent_program.iter().flat_map(|program| &program.folders);
    let of_program: String = folders.map(|folder| format!("{}:", folder.display())).collect();
    format!("{AGENT_HOME}/.local/bin:{of_program}{SYSTEM}")
}

fn gate(env: &mut BTreeMap<String, String>) {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let each = |names: &[&str], value: &str| names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect();
    let all: [Vec<(String, String)>; 4] = [
        each(PROXY_VARIABLES, &proxy),
        each(&["no_proxy", "NO_PROXY"], NO_PROXY),
        each(BUNDLE_VARIABLES, CA_BUNDLE),
        each(EXTRA_VARIABLES, CA_FILE),
    ];
    env.extend(all.into_iter().flatten());
    env.extend(SWITCHES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
}

/// Java reads no proxy variable and has a trust store of its own. Every JVM says on stderr that it took these.
fn java_options() -> String {
    let mut options = vec![
        format!("-Djavax.net.ssl.trustStore={TRUST_STORE}"),
        "-Djavax.net.ssl.trustStoreType=PKCS12".to_owned(),
        format!("-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}"),
    ];
    for scheme in ["http", "https"] {
        options.push(format!("-D{scheme}.proxyHost=127.0.0.1"));
        options.push(format!("-D{scheme}.proxyPort={PROXY_PORT}"));
    }
    options.push("-Dhttp.nonProxyHosts=localhost|127.*|[::1]".to_owned());
    options.join(" ")
}

/// What the bottle holds instead of a secret: the same on every start, made of plain words, and telling nothing but
/// the name of a variable.
pub(super) fn placeholder(source: &SecretRef) -> String {
    match source {
        SecretRef::Env(name) => format!("bot-bottle-placeholder-{name}"),
        SecretRef::Login(name) => format!("bot-bottle-placeholder-login-{name}"),
        other => {
            let digest = Sha256::digest(other.to_string().as_bytes());
            let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("bot-bottle-placeholder-{short}")
        }
    }
}
