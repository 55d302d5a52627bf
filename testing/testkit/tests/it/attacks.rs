//! docs/attacks.md names tests and probe cases: each of them is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

const CRATES: [&str; 8] = ["gate", "cli", "runtime", "init", "policy", "spec", "stream", "tui"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Everything that is written in Rust below a directory.
fn sources(directory: &Path, all: &mut String) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(&path).expect("our own source"));
        }
    }
}

/// Of the last cell of each row: who shows it, and the name.
fn named(text: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack |")) {
        let cell = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let mut who = String::new();
        for (index, part) in cell.split('`').enumerate() {
            if index % 2 == 1 {
                named.push((who.clone(), part.to_owned()));
            } else if let Some(word) =
                part.split([' ', ',', ';']).rev().find(|word| CRATES.contains(word) || *word == "probe")
            {
                word.clone_into(&mut who);
            }
        }
    }
    named
}

#[test]
fn every_test_that_the_list_of_attacks_names_is_there() {
    let text = fs::read_to_string(root().join("docs/attacks.md")).expect("the list");
    let named = named(&text);
    assert!(named.len() > 100, "the list was read: {}", named.len());
    let read = |path: &str| {
        let mut all = String::new();
        sources(&root().join(path), &mut all);
        all
    };
    let crates: Vec<(&str, String)> = CRATES.iter().map(|name| (*name, read(&format!("crates/{name}")))).collect();
    let probe = read("testing/probe/src");
    let stale = named.iter().filter(|(who, name)| match crates.iter().find(|(it, _)| it == who) {
        // A command.
        Some(_) if name.contains(' ') => false,
        // A test, or a file of them.
        Some((it, source)) => {
            !source.contains(&format!("fn {name}(")) && !root().join(format!("crates/{it}/tests/it/{name}.rs")).exists()
        }
        None if who == "probe" => !probe.contains(&format!("\"{name}\"")),
        None => true,
    });
    let stale: Vec<String> = stale.map(|(who, name)| format!("{who} `{name}`")).collect();
    assert!(stale.is_empty(), "named in docs/attacks.md and not there: {}", stale.join(", "));
}

#[test]
fn who_shows_it_is_read_off_the_row() {
    let text = "| attack | shown by |\n|---|---|\n| a `b` | gate `c`, `d`; probe `e f` to `g`; cli `h` |\n";
    let expected = [("gate", "c"), ("gate", "d"), ("probe", "e f"), ("probe", "g"), ("cli", "h")];
    assert_eq!(named(text), expected.map(|(who, name)| (who.to_owned(), name.to_owned())));
}
