//! What checkpoints, and what is noted of them, show besides the chain.

use super::*;

fn started() -> AuditEvent {
    AuditEvent::GateStarted { policy: "p".to_owned() }
}

fn ours() -> Against {
    Against { bottle: Some(slug().to_string()), signer: Some(sign::public_key(&seed()).unwrap()), head: None }
}

/// A log with a checkpoint at its start and one after some records, then some more; and what is noted of it.
fn signed(before: u64, after: u64) -> (Vec<u8>, Head) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    audit.record_signed(started()).unwrap();
    for n in 0..before {
        audit.record(event(n)).unwrap();
    }
    audit.checkpoint().unwrap();
    let head = audit.noted().borrow().clone().unwrap();
    for n in 0..after {
        audit.record(event(n)).unwrap();
    }
    (std::fs::read(path).unwrap(), head)
}

#[test]
fn a_log_tells_how_far_it_is_signed_and_by_whom() {
    let (log, head) = signed(5, 3);
    let against = Against { head: Some(head.clone()), ..ours() };
    let summary = super::super::verify(&*log, &against).unwrap();
    assert_eq!((summary.records, head.records), (11, 8));
    let signed = summary.signed.unwrap();
    assert_eq!((signed.records, Some(signed.signer)), (8, ours().signer));
    let other = Against { signer: Some(sign::public_key(&Secret::new("13".repeat(32))).unwrap()), ..ours() };
    assert!(matches!(super::super::verify(&*log, &other), Err(VerifyError::Broken(broken)) if broken.line == 2));
}

#[test]
fn an_end_cut_off_before_the_noted_checkpoint_is_seen_and_one_behind_it_is_not() {
    let (log, head) = signed(5, 3);
    let whole = lines(&log);
    for left in 0..=whole.len() {
        let cut = whole[..left].concat();
        let verdict = super::super::verify(&*cut, &Against { head: Some(head.clone()), ..ours() });
        if left < 8 {
            let found = left as u64;
            assert!(
                matches!(verdict, Err(VerifyError::Truncated { found: f, noted: 8 }) if f == found),
                "{left}: {verdict:?}"
            );
        } else {
            assert_eq!(verdict.unwrap().records, left as u64);
        }
    }
}

#[test]
fn an_older_copy_and_another_bottles_log_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    audit.record_signed(started()).unwrap();
    audit.record_signed(event(1)).unwrap();
    let older = std::fs::read(&path).unwrap();
    audit.record_signed(event(2)).unwrap();
    let head = audit.noted().borrow().clone();
    let against = Against { head, ..ours() };
    super::super::verify(&*std::fs::read(&path).unwrap(), &against).unwrap();
    let replayed = super::super::verify(&*older, &against);
    assert!(matches!(replayed, Err(VerifyError::Truncated { found: 4, noted: 6 })), "{replayed:?}");
    // A log that was as long, of another run under the same name.
    let (rewritten, _) = signed(2, 1);
    let replaced = super::super::verify(&*rewritten, &against);
    assert!(matches!(&replaced, Err(VerifyError::Broken(broken)) if broken.line == 6), "{replaced:?}");
    let other = Against { bottle: Some("tester-zzzzz".to_owned()), ..Against::default() };
    assert!(matches!(super::super::verify(&*older, &other), Err(VerifyError::Broken(broken)) if broken.line == 1));
    let misplaced = Against { bottle: Some("tester-zzzzz".to_owned()), ..against };
    assert!(matches!(super::super::verify(&*older, &misplaced), Err(VerifyError::OthersHead)));
}

/// Someone without the key makes the log anew, hashes and all.
fn forged(events: &[AuditEvent], signer: Option<&Signer>) -> Vec<u8> {
    let mut chain = Chain::after(&slug(), None).unwrap();
    let mut log = Vec::new();
    for event in events {
        chain.link(1, event, &mut log).unwrap();
        if let (AuditEvent::GateStarted { .. }, Some(signer)) = (event, signer) {
            let checkpoint = signer.checkpoint(&chain.bottle, chain.seq, 1, &chain.prev);
            chain.link(1, &AuditEvent::Checkpoint(checkpoint), &mut log).unwrap();
        }
    }
    log
}

#[test]
fn a_log_made_anew_without_the_key_is_seen() {
    let own = Secret::new("13".repeat(32));
    let stranger = Signer::new(&sign::certify(&own, &slug()).unwrap()).unwrap();
    let mut claiming = sign::certify(&own, &slug()).unwrap();
    claiming.signer = sign::public_key(&seed()).unwrap();
    let claiming = Signer::new(&claiming).unwrap();
    let many: Vec<AuditEvent> = (0..=CHECKPOINT_RECORDS).map(event).collect();
    for (what, log, line) in [
        ("no checkpoint at the start", forged(&[started(), event(1)], None), 2),
        ("no start", forged(&[event(1)], None), 1),
        ("another's key", forged(&[started(), event(1)], Some(&stranger)), 2),
        ("another's key under the user's name", forged(&[started(), event(1)], Some(&claiming)), 2),
        ("no checkpoint for too long", forged(&[&[started()], &many[..]].concat(), Some(&signer())), 259),
    ] {
        let verdict = super::super::verify(&*log, &ours());
        assert!(matches!(&verdict, Err(VerifyError::Broken(broken)) if broken.line == line), "{what}: {verdict:?}");
    }
}

#[test]
fn no_more_records_than_said_stand_without_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    (0..CHECKPOINT_RECORDS).for_each(|n| assert_eq!(audit.record(event(n)).unwrap(), n));
    assert!(audit.noted().borrow().is_none());
    // The checkpoint goes before the one too many.
    assert_eq!(audit.record(event(0)).unwrap(), CHECKPOINT_RECORDS + 1);
    let summary = verify(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(summary.signed.unwrap().records, CHECKPOINT_RECORDS + 1);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_due_some_seconds_after_a_record_and_never_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    let idle = tokio::time::timeout(10 * CHECKPOINT_TIME, audit.due()).await;
    assert!(idle.is_err(), "a checkpoint of nothing");
    audit.record(event(0)).unwrap();
    tokio::time::timeout(2 * CHECKPOINT_TIME, audit.due()).await.unwrap();
    audit.checkpoint().unwrap();
    assert!(tokio::time::timeout(10 * CHECKPOINT_TIME, audit.due()).await.is_err(), "signed twice");
    assert_eq!(audit.noted().borrow().as_ref().unwrap().records, 2);
}

#[test]
fn what_waits_is_written_with_the_next_record_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    let ended = |of| {
        AuditEvent::EgressEnded(bottle_spec::event::EgressEnded {
            of,
            status: Some(200),
            sent: 1,
            received: 2,
            took: 3,
        })
    };
    assert_eq!(audit.record(event(0)).unwrap(), 0);
    audit.later(ended(0));
    assert_eq!(lines(&std::fs::read(&path).unwrap()).len(), 1);
    assert_eq!(audit.record(event(1)).unwrap(), 2);
    let log = std::fs::read(&path).unwrap();
    assert!(String::from_utf8_lossy(lines(&log)[1]).contains(r#""event":"egress_ended","of":0"#));
    // Many of them do not wait.
    (0..MAX_AUDIT_LATER as u64).for_each(|of| audit.later(ended(of)));
    assert_eq!(verify(&std::fs::read(&path).unwrap()).unwrap().records, 3 + MAX_AUDIT_LATER as u64);
    audit.later(ended(1));
    audit.checkpoint().unwrap();
    assert_eq!(verify(&std::fs::read(&path).unwrap()).unwrap().signed.unwrap().records, 5 + MAX_AUDIT_LATER as u64);
}

#[test]
fn what_was_noted_must_be_there_when_a_gate_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let (log, head) = signed(200, 900);
    let go_on = |log: &[u8], head: &Head| {
        std::fs::write(&path, log).unwrap();
        Audit::resume(open(&path), &slug(), signer(), head).map(|audit| audit.record(event(1)).unwrap())
    };
    // 900 records more, with their checkpoints; before another, one more checkpoint may be due.
    assert!(go_on(&log, &head).unwrap() >= 1103);
    verify(&std::fs::read(&path).unwrap()).unwrap();
    let all = lines(&log);
    assert!(matches!(go_on(&all[..202].concat(), &head), Err(AuditError::Damaged { .. })), "cut");
    let (others, _) = signed(200, 900);
    assert!(matches!(go_on(&others, &head), Err(AuditError::Damaged { .. })), "another run's");
    assert!(
        matches!(go_on(&log, &Head::of_nothing("tester-zzzzz")), Err(AuditError::Damaged { .. })),
        "another's note"
    );
}

#[test]
fn decisions_that_a_full_disk_lost_are_counted_when_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let audit = resume(&path).unwrap();
    audit.record_signed(started()).unwrap();
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    let good = std::mem::replace(&mut audit.log().file, full);
    for n in 0..3 {
        assert!(audit.record(event(n)).is_err());
        // /dev/full cannot be cut back as a file on a full disk can.
        audit.log().length = good.metadata().unwrap().len();
    }
    assert!(audit.checkpoint().is_err());
    audit.log().length = good.metadata().unwrap().len();
    audit.log().file = good;
    assert_eq!(audit.record(event(3)).unwrap(), 3);
    let log = std::fs::read(&path).unwrap();
    assert!(String::from_utf8_lossy(lines(&log)[2]).contains(r#""event":"gap","lost":3"#));
    super::super::verify(&*log, &ours()).unwrap();
}
