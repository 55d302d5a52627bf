//! Properties of the log: what every kind of damage looks like to [`verify`], and what a restarted gate makes of it.

use super::*;
use bottle_spec::{
    event::{Decision, EgressEvent},
    secret::Secret,
    verdict::Reason,
};
use std::path::Path;

mod signed;

fn slug() -> Slug {
    "tester-abcde".parse().unwrap()
}

fn event(n: u64) -> AuditEvent {
    AuditEvent::Egress(EgressEvent {
        observed: false,
        decision: Decision::Deny,
        reason: Some(Reason::NoRoute),
        host: Some(format!("n{n}.example")),
        port: Some(443),
        method: Some("GET".to_owned()),
        path: Some("/a\"b\u{1b}\n".to_owned()),
        injected: false,
        status: Some(403),
        budget: None,
    })
}

fn seed() -> Secret {
    Secret::new("42".repeat(32))
}

fn signer() -> Signer {
    Signer::new(&sign::certify(&seed(), &slug()).unwrap()).unwrap()
}

fn nothing() -> Head {
    Head::of_nothing(slug().as_str())
}

/// Goes on with the log of a path, of which nothing is noted.
fn resume(path: &Path) -> Result<Audit, AuditError> {
    Audit::resume(open(path), &slug(), signer(), &nothing())
}

fn verify(log: &[u8]) -> Result<Summary, VerifyError> {
    super::verify(log, &Against::default())
}

fn open(path: &Path) -> File {
    File::options().read(true).append(true).create(true).open(path).unwrap()
}

/// A log of some lines, as bytes.
fn log(lines: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    (0..lines).for_each(|n| assert_eq!(audit.record(event(n)).unwrap(), n));
    std::fs::read(path).unwrap()
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split_inclusive(|byte| *byte == b'\n').collect()
}

#[test]
fn a_log_verifies_and_a_restarted_gate_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    for round in 1..=3 {
        let audit = resume(&path).unwrap();
        for n in 0..10 {
            audit.record(event(n)).unwrap();
        }
        let summary = verify(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((summary.records, summary.torn), (10 * round, 0));
        assert_eq!(summary.bottle.as_deref(), Some("tester-abcde"));
    }
    let empty = Summary { bottle: None, records: 0, head: None, torn: 0, signed: None };
    assert_eq!(verify(&b""[..]).unwrap(), empty);
}

#[test]
fn every_damage_is_seen_at_its_line() {
    let log = log(5);
    let lines = lines(&log);
    let cases: [(&str, Vec<u8>, u64); 7] = [
        ("first line removed", lines[1..].concat(), 1),
        ("middle line removed", [&lines[..2], &lines[3..]].concat().concat(), 3),
        ("two lines swapped", [lines[0], lines[2], lines[1], lines[3], lines[4]].concat(), 2),
        ("a line repeated", [lines[0], lines[1], lines[1], lines[2]].concat(), 3),
        ("cut in the middle of a line", [&log[..lines[0].len() + 40], &log[lines[0].len() + 60..]].concat(), 2),
        ("an empty line", [lines[0], b"\n", lines[1]].concat(), 2),
        ("a line of another log", [lines[0], &self::log(2)[lines[0].len()..]].concat(), 2),
    ];
    for (what, damaged, line) in cases {
        let Err(VerifyError::Broken(broken)) = verify(&damaged) else {
            // Two logs made in one millisecond with the same events are one log.
            assert_eq!(what, "a line of another log", "{what} was not seen");
            continue;
        };
        assert_eq!(broken.line, line, "{what}: {broken}");
    }
}

#[test]
fn a_change_of_any_byte_is_seen() {
    let log = log(2);
    for at in 0..log.len() {
        let mut damaged = log.clone();
        damaged[at] ^= 1;
        let verdict = verify(&damaged);
        // The last line break alone may go: what follows it then is a torn line.
        let torn = at == log.len() - 1 && verdict.as_ref().is_ok_and(|summary| summary.torn > 0);
        assert!(verdict.is_err() || torn, "byte {at} was changed unseen");
    }
}

#[test]
fn a_log_cut_anywhere_verifies_and_is_taken_up_again() {
    let log = log(3);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    for cut in 0..=log.len() {
        let whole = log[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
        let summary = verify(&log[..cut]).unwrap();
        assert_eq!(summary.records, whole, "cut at {cut}");
        std::fs::write(&path, &log[..cut]).unwrap();
        resume(&path).unwrap().record(event(9)).unwrap();
        let summary = verify(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((summary.records, summary.torn), (whole + 1, 0), "cut at {cut}");
    }
}

#[test]
fn a_damaged_last_line_or_anothers_log_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut log = log(2);
    std::fs::write(&path, &log).unwrap();
    let other: Slug = "tester-zzzzz".parse().unwrap();
    assert!(matches!(
        Audit::resume(open(&path), &other, signer(), &Head::of_nothing(other.as_str())),
        Err(AuditError::Damaged { .. })
    ));
    let at = log.len() - 100;
    log[at] ^= 1;
    std::fs::write(&path, &log).unwrap();
    assert!(matches!(resume(&path), Err(AuditError::Damaged { .. })));
    std::fs::write(&path, vec![b'x'; 3 * MAX_AUDIT_LINE]).unwrap();
    assert!(matches!(resume(&path), Err(AuditError::Damaged { .. })));
}

#[test]
fn a_full_disk_is_an_error_and_leaves_a_whole_log() {
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    // /dev/full reads as endless zeros and has no length, so it is an empty log whose every write fails.
    let chain = Chain::after(&slug(), None).unwrap();
    let log = Log {
        file: full,
        length: 0,
        chain,
        signer: signer(),
        unsigned: 0,
        lost: 0,
        later: Vec::new(),
        due: None,
        lines: Vec::new(),
    };
    let audit = Audit { log: Arc::new(Mutex::new(log)), dirty: Arc::default(), noted: watch::Sender::new(None) };
    assert!(matches!(audit.record(event(0)), Err(AuditError::Write(_))));
    // It could not be cut back, so nothing is written behind what may be half a line.
    assert!(matches!(audit.record(event(1)), Err(AuditError::Full)));
}

#[test]
fn an_event_that_fits_no_line_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    let mut long = event(0);
    if let AuditEvent::Egress(egress) = &mut long {
        egress.path = Some("/".repeat(MAX_AUDIT_LINE));
    }
    assert!(matches!(audit.record(long), Err(AuditError::TooLong)));
    audit.record(event(1)).unwrap();
    // The record, and before it one that tells of the loss.
    assert_eq!(verify(&std::fs::read(&path).unwrap()).unwrap().records, 2);
}

#[test]
fn events_of_a_later_version_still_verify() {
    let line = r#"{"seq":0,"time":1,"bottle":"b-abcde","event":"of_a_later_version","more":1,"prev":"PREV","hash":""}"#;
    let line = line.replace("PREV", &"0".repeat(64));
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(line.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let sealed = line.replace("\"hash\":\"\"", &format!("\"hash\":\"{hash}\"")) + "\n";
    assert_eq!(verify(sealed.as_bytes()).unwrap().records, 1);
}
