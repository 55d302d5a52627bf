//! Turns `rules/*.yaml` into static tables: nothing is parsed, compiled or allocated when the program runs.
//!
//! Invariant: what is emitted is a pure function of the files. A rule that breaks a rule for rules stops the build with
//! the file and id. Examples and patterns go to files of their own, which only tests and the bench include.

#![expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]

mod automaton;
mod document;
mod emit;
mod filter;
mod rule;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=rules");
    println!("cargo:rerun-if-changed=build");
    let mut files: Vec<PathBuf> =
        fs::read_dir("rules")?.map(|entry| entry.map(|it| it.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut rules = Vec::new();
    for file in files.iter().filter(|it| it.extension().is_some_and(|it| it == "yaml")) {
        let family = file.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
        let text = fs::read_to_string(file)?;
        let read = document::parse(&text).and_then(|tree| rule::all(&tree, family));
        rules.extend(read.map_err(|why| format!("{}: {why}", file.display()))?);
    }
    rule::check_together(&rules)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    emit::all(&rules, &out)
}
