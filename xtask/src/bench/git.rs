//! The git door against `git daemon`: one bottle has both, with the same repository behind them, so that the client is
//! the same and runs in the same place. In turns; the least of the rounds counts.
//!
//! The full form takes some minutes and 2 GiB: 50,000 commits, 300 MB packed. It is no part of `cargo xtask ci`.

use super::table::{Table, milliseconds, ratio};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const COMMITS: usize = 50_000;
/// Bytes of a file that do not compress, in every commit.
const NOISE: usize = 4600;
const ROUNDS: usize = 3;
const PUSHED: usize = 100;

pub(super) fn measure(program: &Path) -> Result<Table> {
    let field = tempfile::Builder::new().prefix("bb-git-").tempdir()?;
    let upstream = field.path().join("up.git");
    repository(&upstream)?;
    let size = command("du", &["-sm", &upstream.display().to_string()]).output().context("du")?.stdout;
    let size = String::from_utf8_lossy(&size).split('\t').next().unwrap_or_default().to_owned();
    let said = in_bottle(program, field.path(), &upstream)?;
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for line in said.lines() {
        let Some((what, seconds)) = line.split_once(' ') else { continue };
        let Ok(seconds) = seconds.parse::<f64>() else { continue };
        times.entry(what).or_default().push(Duration::from_secs_f64(seconds));
    }
    let title = format!("git, {COMMITS} commits, {size} MB, least of {ROUNDS}");
    let mut table = Table::new(&title, &["what", "`git daemon`", "git door", "ratio"]);
    for (name, what) in [("clone", "clone"), ("push", "push of 100 commits, searched")] {
        let least = |by: &str| times.get(format!("{by}-{name}").as_str()).and_then(|times| times.iter().min()).copied();
        let (daemon, door) = least("daemon").zip(least("door")).with_context(|| format!("no figures in: {said}"))?;
        table.row(vec![what.to_owned(), milliseconds(daemon), milliseconds(door), ratio(door, daemon)]);
    }
    let first = times.get("first-clone").and_then(|times| times.first()).copied().unwrap_or_default();
    table.row(vec![
        "the first clone, which makes the mirror".to_owned(),
        "–".to_owned(),
        milliseconds(first),
        "–".to_owned(),
    ]);
    Ok(table)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

/// The same on every run, by `git fast-import`; with a bitmap, as servers have them.
fn repository(path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    ensure!(command("git", &["init", "-q", "--bare", "-b", "main", &shown]).status()?.success(), "git init");
    let mut import =
        command("git", &["-C", &shown, "fast-import", "--quiet", "--done"]).stdin(Stdio::piped()).spawn()?;
    let mut to = BufWriter::new(import.stdin.take().context("a pipe")?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..COMMITS {
        let mut body = String::with_capacity(NOISE * 2);
        while body.len() < NOISE * 2 {
            // xorshift64: noise in hexadecimal, which packs to half of it.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(body, "{state:016x}")?;
            if body.len().is_multiple_of(5) {
                body.push('\n');
            }
        }
        writeln!(to, "commit refs/heads/main\nmark :{}", number + 1)?;
        writeln!(to, "committer A <a@example.test> {} +0000", 1_700_000_000 + number)?;
        let message = format!("change number {number}\n");
        write!(to, "data {}\n{message}", message.len())?;
        if number > 0 {
            writeln!(to, "from :{number}")?;
        }
        writeln!(to, "M 100644 inline d{}/f{}.txt\ndata {}\n{body}", number % 50, number % 2000, body.len())?;
    }
    writeln!(to, "done")?;
    to.flush()?;
    drop(to);
    ensure!(import.wait()?.success(), "git fast-import");
    ensure!(command("git", &["-C", &shown, "repack", "-adqb"]).status()?.success(), "git repack");
    Ok(())
}

fn in_bottle(program: &Path, field: &Path, upstream: &Path) -> Result<String> {
    let script = format!(
        r#"
        export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
            GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=a@example.test GIT_CONFIG_KEY_2=user.name GIT_CONFIG_VALUE_2=a
        cd; cp -r /data/up.git up.git
        git daemon --base-path="$PWD" --export-all --port=9555 --listen=127.0.0.1 --enable=receive-pack --reuseaddr &
        sleep 1
        timed() {{ what=$1; shift; from=$(date +%s%N); "$@" >&2; to=$(date +%s%N)
            echo "$what $(( (to - from) / 1000000000 )).$(printf %09d $(( (to - from) % 1000000000 )))"; }}
        timed first-clone git clone -q --bare $GIT_GATE_URL/app x; rm -rf x
        for round in $(seq {ROUNDS}); do
            timed daemon-clone git clone -q --bare git://127.0.0.1:9555/up.git x; rm -rf x
            timed door-clone git clone -q --bare $GIT_GATE_URL/app x; rm -rf x
        done
        git clone -q $GIT_GATE_URL/app work; cd work
        for round in $(seq {ROUNDS}); do
            git checkout -q -B round origin/main
            for n in $(seq {PUSHED}); do
                head -c 6000 /dev/urandom | od -An -tx1 > "d1/new-$round-$n"; git add -A; git commit -q -m "change $n"
            done
            timed daemon-push git push -q git://127.0.0.1:9555/up.git HEAD:refs/heads/agent/$round
            timed door-push git push -q origin HEAD:refs/heads/agent/$round
        done
        kill %1
        "#
    );
    let git = format!("app={}", upstream.display());
    let mount = format!("{}:/data/up.git", upstream.display());
    let arguments = [
        "run",
        "--git",
        &git,
        "--push",
        "app=refs/heads/agent/*:allow",
        "--mount",
        &mount,
        "--",
        "bash",
        "-euc",
        &script,
    ];
    let mut command = command(&program.display().to_string(), &arguments);
    for (name, place) in [("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config")] {
        command.env(name, field.join(place));
    }
    let output = command.env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the bottle ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
