//! `cargo xtask`: what is done to the source tree rather than with the product.
//!
//! `ci` everything a change must pass · `escape BACKEND` the escape suite · `check-deps` who may import whom ·
//! `bench` the figures of docs/benchmarks.md · `fuzz` the parsers of hostile bytes · `init` the static init on its own.
//! `corpus` false alarms of the scanner on real text · `emulated` limits by cgroup v2, and microVMs, in an emulated machine.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal of whoever builds")]

mod bench;
mod build;
mod check_deps;
mod ci;
mod corpus;
mod emulated;
mod escape;
mod fuzz;
mod sources;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask ci [--quick] | escape namespace|docker[-stream|-sent]|podman[-stream|-sent]|smolmachines [--part K/N] [--user root|ordinary] [--built] | check-deps | \
                     bench [scan] [--write] [--only launch|proxy|memory|scan|git|agents|docker|machines|dashboard|decisions] | corpus [DIRECTORY…] | \
                     emulated [--built | smolmachines [escape [--part K/N] | bench | TEST…]] | fuzz [TARGET] [--seconds N] | init";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci", options @ ..] => ci::run(options),
        ["escape", backend, options @ ..] => escape::run(backend, options),
        ["emulated", options @ ..] => emulated::run(options),
        ["fuzz", options @ ..] => fuzz::run(options),
        ["check-deps"] => check_deps::run(),
        ["bench", "scan", options @ ..] => bench::run(&[&["--only", "scan"], options].concat()),
        ["bench", options @ ..] => bench::run(options),
        ["corpus", directories @ ..] => corpus::run(directories),
        ["init"] => build::init(),
        ["load", file] => bench::load::run(file.as_ref()),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
