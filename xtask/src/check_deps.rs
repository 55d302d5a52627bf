//! The architecture's rules that a compiler does not hold: who may import whom, where `unsafe` may stand, who may
//! print and who may read the environment. Prints the largest files besides.

use crate::{
    build::cargo,
    sources::{self, Source},
};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The crates of the workspace that each may import, development aside.
const LAYERS: &[(&str, &[&str])] = &[
    ("bottle-spec", &[]),
    ("bottle-stream", &[]),
    ("bottle-policy", &["bottle-spec"]),
    ("bottle-gate", &["bottle-spec", "bottle-policy"]),
    ("bottle-runtime", &["bottle-spec", "bottle-stream"]),
    ("bottle-init", &["bottle-spec", "bottle-stream"]),
    ("bottle-tui", &["bottle-spec"]),
    ("bot-bottle", &["bottle-spec", "bottle-policy", "bottle-gate", "bottle-runtime", "bottle-tui"]),
];
/// Where `unsafe` may stand, in modules named `sys`.
const MAY_BE_UNSAFE: &[&str] = &["crates/runtime", "crates/init", "testing/probe"];
/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];
const LONG_FILE: usize = 450;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub(crate) fn run() -> Result<()> {
    let sources = sources::all()?;
    let mut faults = layering(&metadata()?);
    faults.extend(sources.iter().flat_map(file_faults));
    report_sizes(&sources);
    for fault in &faults {
        eprintln!("check-deps: {fault}");
    }
    ensure!(faults.is_empty(), "{} faults", faults.len());
    println!("check-deps: {} files, every rule holds", sources.len());
    Ok(())
}

fn metadata() -> Result<Metadata> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata cannot be read")
}

fn layering(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package.name) else { continue };
        let own = package.dependencies.iter().filter(|it| it.path.is_some() && it.kind.is_none());
        faults.extend(
            own.filter(|it| !allowed.contains(&it.name.as_str()))
                .map(|it| format!("{} imports {}", package.name, it.name)),
        );
    }
    faults
}

fn file_faults(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let package = source.package();
    let mut faults = Vec::new();
    let text = source.product();
    let code = || text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let ours = package.starts_with("crates/") && source.path.iter().any(|part| part == "src");
    // Tests that have a file of their own.
    let tests = source.path.iter().any(|part| part == "tests" || part == "tests.rs");
    let product = ours && !tests;
    let sys = source.path.file_stem().is_some_and(|stem| stem == "sys") || source.path.iter().any(|part| part == "sys");
    let has_unsafe =
        code().any(|line| ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|it| line.contains(it)));
    if product && has_unsafe && !(sys && MAY_BE_UNSAFE.contains(&package.as_str())) {
        faults.push(format!("{path}: unsafe outside of a `sys` module of runtime or init"));
    }
    if product
        && package != "crates/cli"
        && code().any(|line| line.contains("std::env::var") || line.contains("env::var("))
    {
        faults.push(format!("{path}: reads the environment, which is the cli's to do"));
    }
    let prints = ["println!(", "print!(", "dbg!("];
    if product
        && package != "crates/cli"
        && code().any(|line| prints.iter().any(|it| line.contains(it)) && !line.contains("cargo:"))
    {
        faults.push(format!("{path}: prints, which is the cli's to do"));
    }
    if ours && !source.text.starts_with("//!") {
        faults.push(format!("{path}: does not say in `//!` what it is"));
    }
    let (gate, runtime) = (package == "crates/gate", package == "crates/runtime");
    if gate && code().any(|line| line.contains("bottle_runtime"))
        || runtime && code().any(|line| line.contains("bottle_gate"))
    {
        faults.push(format!("{path}: gate and runtime import each other"));
    }
    if source.path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| EMPTY_NAMES.contains(&stem)) {
        faults.push(format!("{path}: a name that says nothing"));
    }
    faults.extend(backend_faults(source));
    faults
}

/// Backends never import each other.
fn backend_faults(source: &Source) -> Option<String> {
    let path = source.path.to_string_lossy();
    let own = path.split("/backend/").nth(1)?.split(['/', '.']).next()?;
    let others =
        ["namespace", "docker", "smolmachines", "kubernetes"].into_iter().filter(|other| *other != own && own != "mod");
    let mut imported = others.filter(|other| source.text.contains(&format!("backend::{other}")));
    imported.next().map(|other| format!("{path}: one backend imports another, {other}"))
}

fn report_sizes(sources: &[Source]) {
    let mut sizes: Vec<(usize, String)> =
        sources.iter().map(|it| (it.product().lines().count(), it.path.display().to_string())).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let median = sizes.get(sizes.len() / 2).map_or(0, |(lines, _)| *lines);
    println!("check-deps: median file {median} lines without its tests; look twice at:");
    for (lines, path) in sizes.iter().take_while(|(lines, _)| *lines > LONG_FILE) {
        println!("  {lines:5} {path}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn each_rule_finds_its_fault() {
        for (path, text) in [
            ("crates/gate/src/a.rs", "//! A.\nfn a() { unsafe { b() } }"),
            ("crates/runtime/src/a.rs", "//! A.\nunsafe fn a() {}"),
            ("crates/gate/src/a.rs", "//! A.\nlet a = std::env::var(\"A\");"),
            ("crates/policy/src/a.rs", "//! A.\nprintln!(\"a\");"),
            ("crates/policy/src/utils.rs", "//! A."),
            ("crates/policy/src/a.rs", "fn a() {}"),
            ("crates/gate/src/a.rs", "//! A.\nuse bottle_runtime::A;"),
            ("crates/runtime/src/backend/docker/a.rs", "//! A.\nuse crate::backend::namespace;"),
        ] {
            assert_eq!(file_faults(&source(path, text)).len(), 1, "{path}: {text}");
        }
        assert!(file_faults(&source("crates/runtime/src/sys.rs", "//! A.\nunsafe { a() }")).is_empty());
        assert!(
            file_faults(&source("crates/gate/src/a.rs", "//! A.\n\n#[cfg(test)]\nmod tests { unsafe fn a() {} }"))
                .is_empty()
        );
    }

    #[test]
    fn an_import_upwards_is_found() {
        let own = |name: &str| Dependency { name: name.to_owned(), kind: None, path: Some("crates/x".to_owned()) };
        let package =
            Package { name: "bottle-policy".to_owned(), dependencies: vec![own("bottle-gate"), own("bottle-spec")] };
        assert_eq!(layering(&Metadata { packages: vec![package] }), ["bottle-policy imports bottle-gate"]);
    }
}
