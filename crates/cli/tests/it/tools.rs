//! The tools that agents use, each against its own kind of server, through the gate and with the bottle's authority:
//! by the proxy variables, and without them.

use crate::stage::{HOST, Stage};
use bottle_testkit::registries::COMMIT;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What `scripts/install-test-needs` filled.
pub(crate) fn cache() -> Option<PathBuf> {
    let named = std::env::var_os("BOT_BOTTLE_TEST_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let default = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    named.or_else(|| Some(default()?.join("bot-bottle-tests"))).filter(|path| path.is_dir())
}

/// Whether this machine has a program of this name.
pub(crate) fn on_path(name: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|directory| Path::new(directory).join(name).exists())
}

struct Tool {
    /// On the host, what tells that the tool is there: absolute, or below the cache.
    needs: &'static str,
    /// A line of shell that must succeed; `$TOOLS` is the cache.
    line: &'static str,
    says: &'static str,
    /// The path at the upstream that the tool must have asked for.
    asks: &'static str,
}

/// Without proxy variables, whatever they are called.
const NO_PROXY_VARIABLES: &str = "for name in $(env | sed -n 's/^\\([A-Za-z_]*[pP][rR][oO][xX][yY]\\)=.*/\\1/p'); do \
                                  unset \"$name\"; done; unset NODE_USE_ENV_PROXY; ";

#[track_caller]
fn works(tool: &Tool) {
    let needs = Path::new(tool.needs);
    let cache = cache();
    let there =
        if needs.is_absolute() { needs.exists() } else { cache.as_ref().is_some_and(|it| it.join(needs).exists()) };
    if !there {
        println!("SKIPPED(no {}): see scripts/install-test-needs", tool.needs);
        return;
    }
    let stage = Stage::new();
    let tools = cache.unwrap_or_else(|| stage.env.work());
    let mount = format!("{}:/tools", tools.display());
    let rust = rust_toolchain().map(|path| format!("{}:/rust", path.display()));
    let mut flags = vec!["--allow", HOST, "--mount", &mount];
    if let Some(rust) = &rust {
        flags.extend(["--mount", rust]);
    }
    for (way, unset) in [("with proxy variables", ""), ("without proxy variables", NO_PROXY_VARIABLES)] {
        let script = format!("set -eu; TOOLS=/tools; cd \"$HOME\"; {unset}{}", tool.line);
        let ran = stage.run(&flags, &["sh", "-c", &script]);
        assert_eq!(ran.code, Some(0), "{way}: {ran}");
        assert!(ran.stdout.contains(tool.says), "{way}: no `{}` in {ran}", tool.says);
        let seen = stage.upstream.take_seen();
        assert!(
            seen.iter().any(|seen| seen.path() == tool.asks && seen.sni.as_deref() == Some(HOST)),
            "{way}: {seen:#?}"
        );
    }
}

fn rust_toolchain() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

#[test]
fn curl() {
    works(&Tool { needs: "/usr/bin/curl", line: "curl -sSf https://up.test/size/7", says: "abcdefg", asks: "/size/7" });
}

#[test]
fn openssl() {
    let line = "printf 'GET /size/7 HTTP/1.0\\r\\nHost: up.test\\r\\n\\r\\n' | \
                openssl s_client -quiet -verify_return_error -servername up.test ${https_proxy:+-proxy 127.0.0.1:8888} -connect up.test:443 2>/dev/null";
    works(&Tool { needs: "/usr/bin/openssl", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn git() {
    works(&Tool {
        needs: "/usr/bin/git",
        line: "git ls-remote https://up.test/git/repo",
        says: COMMIT,
        asks: "/git/repo/info/refs",
    });
}

#[test]
fn python_urllib() {
    let line = "/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"https://up.test/size/7\").read())'";
    works(&Tool { needs: "/usr/bin/python3", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn python_requests() {
    let line = "PYTHONPATH=$TOOLS/python /usr/bin/python3 -c 'import requests; print(requests.get(\"https://up.test/size/7\").text)'";
    works(&Tool { needs: "python/requests", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn python_httpx() {
    let line = "PYTHONPATH=$TOOLS/python /usr/bin/python3 -c 'import httpx; print(httpx.get(\"https://up.test/size/7\").text)'";
    works(&Tool { needs: "python/httpx", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn pip() {
    let line = "PYTHONPATH=$TOOLS/python /usr/bin/python3 -m pip index versions bottled --index-url https://up.test/simple 2>&1";
    works(&Tool { needs: "python/pip", line, says: "1.0.0", asks: "/simple/bottled/" });
}

#[test]
fn uv() {
    let line = "echo bottled | $TOOLS/venv/bin/uv pip compile --python /usr/bin/python3 --index-url https://up.test/simple - 2>&1";
    works(&Tool { needs: "venv/bin/uv", line, says: "bottled==1.0.0", asks: "/simple/bottled/" });
}

#[test]
fn node_fetch() {
    let line = "node -e 'fetch(\"https://up.test/size/7\").then(r => r.text()).then(console.log)'";
    // Node learned to obey proxy variables by itself in 24; the older ones go by the synthetic addresses.
    works(&Tool { needs: "/usr/bin/node", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn node_https() {
    let line = "node -e 'require(\"https\").get(\"https://up.test/size/7\", r => r.pipe(process.stdout))'";
    works(&Tool { needs: "/usr/bin/node", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn npm() {
    let line = "npm view bottled version --registry https://up.test/npm/";
    works(&Tool { needs: "/usr/bin/npm", line, says: "1.0.0", asks: "/npm/bottled" });
}

#[test]
fn cargo() {
    let line = "export CARGO_HOME=$HOME/cargo; mkdir -p $CARGO_HOME; \
                printf '[registries.up]\\nindex = \"sparse+https://up.test/crates/\"\\n' > $CARGO_HOME/config.toml; \
                /rust/bin/cargo search --registry up bottled";
    works(&Tool { needs: "/usr/bin/env", line, says: "bottled = \"1.0.0\"", asks: "/api/v1/crates" });
}

#[test]
fn go() {
    let line = "export GOPROXY=https://up.test/go GONOSUMDB='*' GONOSUMCHECK=1 GOFLAGS=-mod=mod GOSUMDB=off GOPATH=$HOME/go; \
                mkdir m; cd m; printf 'module m\\n' > go.mod; go list -m -versions up.test/bottled";
    works(&Tool { needs: "/usr/bin/go", line, says: "v1.0.0", asks: "/go/up.test/bottled/@v/list" });
}

#[test]
fn java() {
    let program = "import java.net.*; import java.net.http.*; public class Get { public static void main(String[] a) throws Exception { \
                   System.out.println(HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build().send(HttpRequest.newBuilder(URI.create(\"https://up.test/size/7\")).build(), \
                   HttpResponse.BodyHandlers.ofString()).body()); } }";
    let line = format!(
        "if [ -z \"${{https_proxy:-}}\" ]; then export JAVA_TOOL_OPTIONS='-Djavax.net.ssl.trustStore=/etc/bot-bottle/truststore.p12 \
         -Djavax.net.ssl.trustStorePassword=changeit'; fi; printf '%s' '{program}' > Get.java; java Get.java"
    );
    works(&Tool { needs: "/usr/bin/javac", line: Box::leak(line.into_boxed_str()), says: "abcdefg", asks: "/size/7" });
}

#[test]
fn deno() {
    let line =
        "$TOOLS/npm/node_modules/.bin/deno eval 'console.log(await (await fetch(\"https://up.test/size/7\")).text())'";
    works(&Tool { needs: "npm/node_modules/.bin/deno", line, says: "abcdefg", asks: "/size/7" });
}

#[test]
fn bun() {
    let line =
        "$TOOLS/npm/node_modules/.bin/bun -e 'console.log(await (await fetch(\"https://up.test/size/7\")).text())'";
    works(&Tool { needs: "npm/node_modules/.bin/bun", line, says: "abcdefg", asks: "/size/7" });
}
