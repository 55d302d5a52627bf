//! `probe run FIELD`: every case, one JSON line each. `probe case NAME FIELD`: one of them, in this process.
//! `probe listen PORT SECONDS`: what a sibling bottle runs. `probe idle WORD…`: a process with those arguments.
//!
//! Each case has a process of its own and a few seconds: what is killed, hangs or crashes is an outcome like others.

use bottle_probe::{Case, Field, Outcome, Report, cases};
use std::{
    error::Error,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A case may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run", field] => run(field),
        ["case", name, field] => one(name, field),
        ["idle", ..] => {
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        ["listen", port, seconds] => listen(port, seconds),
        _ => Err("usage: probe run FIELD | probe case NAME FIELD | probe listen PORT SECONDS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "probe: {error}");
            ExitCode::from(2)
        }
    }
}

fn read(path: &str) -> Result<Field, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn run(path: &str) -> Result<(), Box<dyn Error>> {
    let field = read(path)?;
    let mut out = std::io::stdout().lock();
    for case in cases::part(field.part) {
        let outcome = if field.bare && case.control.skips_bare() {
            Outcome::NotApplicable("would leave loopback on the bare host".to_owned())
        } else {
            apart(&case, path)?
        };
        let report = Report { name: case.name.to_owned(), section: case.section, outcome };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        out.flush()?;
    }
    Ok(())
}

/// Runs one case in a process of its own.
fn apart(case: &Case, path: &str) -> Result<Outcome, Box<dyn Error>> {
    let mut child = Command::new("/proc/self/exe")
        .args(["case", case.name, path])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            None => {
                child.kill()?;
                child.wait()?;
                return Ok(Outcome::Held(format!("still waiting after {PATIENCE:?}")));
            }
        }
    };
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text)?;
    }
    Ok(serde_json::from_str(&text).unwrap_or_else(|_| ended_early(status)))
}

fn ended_early(status: ExitStatus) -> Outcome {
    Outcome::Held(match (status.signal(), status.code()) {
        (Some(libc::SIGSYS), _) => "killed by seccomp".to_owned(),
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, code) => format!("ended with {code:?}"),
    })
}

fn one(name: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let field = read(path)?;
    let case = cases::all().into_iter().find(|case| case.name == name).ok_or("no such case")?;
    let outcome = (case.attempt)(&field);
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&outcome)?)?)
}

/// Answers on the bottle's own loopback, and on an abstract socket of the same name, until it is stopped or the time
/// is over.
fn listen(port: &str, seconds: &str) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(seconds.parse()?);
    let listener = std::net::TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.set_nonblocking(true)?;
    writeln!(std::io::stdout(), "listening")?;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((mut stream, _)) => stream.write_all(b"sibling")?,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Ok(())
}
