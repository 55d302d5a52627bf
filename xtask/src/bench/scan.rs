//! The scanner's figures: four texts, each searched by the detectors alone, by the whole scanner, by a `RegexSet` of the
//! same rules, and by the secret scanners of PyPI where they can be installed.
//!
//! The texts are made of this repository, of the packages that its lock file names and of a fixed seed, so that every run
//! searches the same. This repository's own sources are full of what a scanner looks for; the packages' are as sources are.

use super::table::Table;
use crate::build::{cargo, root};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const SIZE: usize = 2 << 20;
/// What the others search of each: they take seconds for a megabyte, and more where it is hostile.
const SAMPLE: usize = 256 << 10;
/// Of one package.
const SHARE: usize = 24 << 10;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Beginnings of tokens and of names, to be followed by noise.
const LURES: &[&str] = &[
    "AKIA",
    "sk-",
    "ghp_",
    "aws=",
    "token=",
    "eyJ",
    "://a:",
    "glpat-",
    "password: ",
    "xoxb-1",
    "SG.",
    "secret = \"",
    "-us1",
    "live_",
    "card 4",
    "hf_",
    "api_key",
    "PRIVATE KEY",
];

/// Its command is not on PyPI; its library, which is the same program, is.
const BETTERLEAKS: &str = "import sys, pybetterleaks; pybetterleaks.scan_dir(sys.argv[1])";

/// What the example `scan` says of a text.
#[derive(Deserialize)]
struct Speed {
    find: f64,
    stream: f64,
    ten_kilobytes_us: f64,
    regex_set: f64,
}

pub(super) fn measure() -> Result<Table> {
    let program = program()?;
    let field = tempfile::tempdir()?;
    let rivals = Rivals::install(field.path());
    let mut table = Table::new(
        "Scanning, one core, every rule on, MB/s",
        &["text", "detectors", "whole scanner", "10 KB through it", "RegexSet", "betterleaks", "detect-secrets"],
    );
    for (name, text) in texts()? {
        let directory = field.path().join(name.replace(' ', "-"));
        let (file, part) = (directory.with_extension("txt"), directory.join("text.txt"));
        let sample = text.get(..SAMPLE).unwrap_or(&text);
        fs::create_dir(&directory)?;
        fs::write(&file, &text)?;
        fs::write(&part, sample)?;
        let output =
            Command::new(&program).arg("speed").arg(&file).output().context("the example cannot be started")?;
        let said: Speed = serde_json::from_slice(&output.stdout).context("the example's figures cannot be read")?;
        table.row(vec![
            name.to_owned(),
            format!("{:.0}", said.find),
            format!("{:.0}", said.stream),
            format!("{:.0} µs", said.ten_kilobytes_us),
            format!("{:.2}", said.regex_set),
            rivals.rate("python", &["-c", BETTERLEAKS], &directory, sample.len()),
            rivals.rate("detect-secrets", &["scan", "--all-files"], &part, sample.len()),
        ]);
    }
    Ok(table)
}

/// The example of the policy, optimised.
pub(crate) fn program() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--quiet", "--release", "--package", "bottle-policy", "--example", "scan"]);
    command.arg("--message-format=json").stderr(Stdio::inherit());
    let output = command.output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "the example does not build");
    (String::from_utf8_lossy(&output.stdout).lines())
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo named no executable for the example")
}

fn texts() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (source, prose) = (gathered("rs")?, gathered("md")?);
    let mut chat = b"{\"messages\":[".to_vec();
    while chat.len() < SIZE {
        for paragraph in prose.split("\n\n").filter(|it| !it.is_empty()) {
            let message = serde_json::json!({ "role": "user", "content": paragraph });
            chat.extend_from_slice(message.to_string().as_bytes());
            chat.push(b',');
        }
    }
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let base64 = (0..SIZE).map(|_| noise.letter(64)).collect();
    let mut hostile = Vec::new();
    while hostile.len() < SIZE {
        hostile.extend_from_slice(LURES.get(noise.below(LURES.len())).copied().unwrap_or_default().as_bytes());
        let length = noise.below(20);
        hostile.extend((0..length).map(|_| noise.letter(62)));
    }
    Ok(vec![
        ("chat JSON", chat),
        ("packages' sources", packages()?),
        ("own sources", source.repeat(SIZE / source.len().max(1) + 1).into_bytes()),
        ("base64 noise", base64),
        ("hostile", hostile),
    ])
}

/// The beginnings of the packages' sources.
fn packages() -> Result<Vec<u8>> {
    let output = cargo().args(["metadata", "--format-version=1", "--locked"]).stderr(Stdio::inherit()).output()?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo named no packages")?;
    let others = said["packages"].as_array().into_iter().flatten().filter(|it| it["source"].is_string());
    let mut folders: Vec<PathBuf> =
        others.filter_map(|it| Some(Path::new(it["manifest_path"].as_str()?).with_file_name("src"))).collect();
    folders.sort_by(|a, b| a.parent().cmp(&b.parent()));
    let mut text = Vec::new();
    for folder in folders {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
        files.retain(|file| file.extension().is_some_and(|it| it == "rs"));
        files.sort();
        let all: Vec<u8> = files.iter().filter_map(|file| fs::read(file).ok()).flatten().collect();
        text.extend_from_slice(all.get(..SHARE).unwrap_or(&all));
    }
    ensure!(text.len() >= SIZE, "the packages' sources are not here");
    text.truncate(SIZE);
    Ok(text)
}

/// All files of this repository with an extension, one after the other.
fn gathered(extension: &str) -> Result<String> {
    let mut text = String::new();
    let mut waiting = vec![root().join("crates"), root().join("docs")];
    while let Some(directory) = waiting.pop() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(directory)?.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>()?;
        entries.sort();
        for path in entries {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                text.push_str(&fs::read_to_string(path)?);
            }
        }
    }
    Ok(text)
}

/// Marsaglia's xorshift.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap_or_default() % bound.max(1)
    }

    fn letter(&mut self, of: usize) -> u8 {
        ALPHABET.get(self.below(of)).copied().unwrap_or(b'A')
    }
}

/// A virtual environment with the others in it.
struct Rivals {
    programs: Option<PathBuf>,
}

impl Rivals {
    fn install(field: &Path) -> Rivals {
        let place = field.join("venv");
        let made = Command::new("python3").args(["-m", "venv"]).arg(&place).status().is_ok_and(|it| it.success());
        let pip = place.join("bin/pip");
        let install = |name: &str| {
            let mut command = Command::new(&pip);
            command.args(["install", "--quiet", "--disable-pip-version-check", name]);
            command.status().is_ok_and(|it| it.success())
        };
        let any = made && ["pybetterleaks", "detect-secrets"].into_iter().filter(|name| install(name)).count() > 0;
        Rivals { programs: any.then(|| place.join("bin")) }
    }

    /// MB/s of a whole run, the program's start included; a dash where it is not there or fails.
    fn rate(&self, name: &str, arguments: &[&str], file: &Path, size: usize) -> String {
        let Some(program) = self.programs.as_ref().map(|it| it.join(name)).filter(|it| it.exists()) else {
            return "–".to_owned();
        };
        let start = Instant::now();
        let ran = Command::new(program).args(arguments).arg(file).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let seconds = start.elapsed().as_secs_f64();
        if ran.is_ok_and(|it| it.success()) { format!("{:.1}", size as f64 / 1e6 / seconds) } else { "–".to_owned() }
    }
}
