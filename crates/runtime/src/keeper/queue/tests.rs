//! The queue from both ends: what an agent asks, what an operator answers, and what is there after a crash.

use super::*;
use bottle_spec::{
    host::HostPattern,
    operator::{DECISION, Gives, REQUEST},
    policy::Route,
};
use serde_json::Value;
use std::{cell::Cell, fs};
use tokio::task::LocalSet;

/// A queue whose gate takes what it is given, or not, and what was done, in order.
struct Stage {
    dir: tempfile::TempDir,
    queue: Rc<Queue>,
    takes: Rc<Cell<bool>>,
    done: Rc<RefCell<Vec<String>>>,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let (records, mut to_record) = mpsc::channel::<ToRecord>(1);
        let (queue, mut ends) = Queue::open(dir.path().join("q"), EgressPolicy::default(), records).unwrap();
        let (takes, done) = (Rc::new(Cell::new(true)), Rc::new(RefCell::<Vec<String>>::default()));
        let log = Rc::clone(&done);
        spawn_local(async move {
            while let Some(ToRecord { event, answer }) = to_record.recv().await {
                let event: Value = serde_json::from_str(&event).unwrap();
                log.borrow_mut().push(format!("{} {}", event["event"], event["by"]));
                let _ = answer.send(Ok(1));
            }
        });
        let (log, take) = (Rc::clone(&done), Rc::clone(&takes));
        spawn_local(async move {
            while let Some(ToApply { policy, answer }) = ends.policies.recv().await {
                log.borrow_mut().push(format!("{} routes", policy.routes.len()));
                let _ = answer.send(if take.get() { Ok(String::new()) } else { Err("no".to_owned()) });
            }
        });
        Stage { dir, queue, takes, done }
    }

    fn ask(&self, id: &str) -> Result<(), String> {
        self.queue.ask(Asker::Supervise, id, "egress", format!("what {id} says, unread"), now() + 60_000)
    }

    fn yes(&self, id: &str, term: Term) -> OperatorDecision {
        let route = Box::new(Route::to(HostPattern::parse("x.test").unwrap()));
        let grant = Grant { request: id.to_owned(), gives: Gives::Route { route, first: false }, term, until: None };
        let shown = digest(format!("what {id} says, unread").as_bytes());
        OperatorDecision { allow: true, why: None, grant: Some(grant), ..OperatorDecision::no(id, shown, "") }
    }

    fn file(&self, id: &str, ending: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join("q").join(format!("{id}{ending}"))).ok()
    }
}

async fn on_stage(test: impl AsyncFnOnce(Stage)) {
    LocalSet::new().run_until(async { test(Stage::new()).await }).await;
}

#[tokio::test(start_paused = true)]
async fn a_yes_is_written_down_then_in_force_then_told() {
    on_stage(async |stage| {
        stage.ask("abc").unwrap();
        assert_eq!(stage.file("abc", REQUEST).as_deref(), Some("what abc says, unread"));
        let mut news = stage.queue.news();
        stage.queue.decide(stage.yes("abc", Term::Bottle), "egress").await.unwrap();
        assert_eq!(*stage.done.borrow(), ["\"decided\" \"operator\"", "1 routes"]);
        assert!(news.recv().await.unwrap().allow);
        assert!(stage.file("abc", DECISION).unwrap().contains("\"allow\": true"));
        let again = stage.queue.decide(stage.yes("abc", Term::Bottle), "egress").await;
        assert!(matches!(again, Err(Refusal::Answered)));
        stage.queue.end("abc", GrantEnd::Revoked).await.unwrap();
        assert_eq!(stage.done.borrow().last().map(String::as_str), Some("0 routes"));
        assert!(matches!(stage.queue.end("abc", GrantEnd::Revoked).await, Err(Refusal::NoGrant)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_another_text_or_to_none_is_not_taken() {
    on_stage(async |stage| {
        stage.ask("abc").unwrap();
        let mut stale = stage.yes("abc", Term::Bottle);
        stale.request = digest(b"what was shown");
        assert!(matches!(stage.queue.decide(stale, "egress").await, Err(Refusal::Stale)));
        for id in ["xyz", "../abc", ""] {
            let mut other = stage.yes("abc", Term::Bottle);
            other.id = id.to_owned();
            assert!(matches!(stage.queue.decide(other, "egress").await, Err(Refusal::Unknown)), "{id}");
        }
        assert!(stage.done.borrow().is_empty() && stage.file("abc", DECISION).is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_gate_does_not_take_is_not_granted() {
    on_stage(async |stage| {
        stage.ask("abc").unwrap();
        stage.takes.set(false);
        let refused = stage.queue.decide(stage.yes("abc", Term::Bottle), "egress").await;
        assert!(matches!(refused, Err(Refusal::Gate(_))));
        assert!(stage.queue.grants().is_empty() && stage.file("abc", DECISION).is_none());
        stage.takes.set(true);
        stage.queue.decide(stage.yes("abc", Term::Bottle), "egress").await.unwrap();
        assert_eq!(stage.queue.grants().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_a_no() {
    on_stage(async |stage| {
        let mut news = stage.queue.news();
        stage.ask("abc").unwrap();
        let decision = news.recv().await.unwrap();
        assert!(!decision.allow && decision.id == "abc");
        assert_eq!(*stage.done.borrow(), ["\"decided\" \"time\""]);
        assert!(stage.file("abc", DECISION).unwrap().contains("in time"));
        let late = stage.queue.decide(stage.yes("abc", Term::Bottle), "egress").await;
        assert!(matches!(late, Err(Refusal::Answered)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_for_a_while_ends_by_itself() {
    on_stage(async |stage| {
        stage.ask("abc").unwrap();
        stage.queue.decide(stage.yes("abc", Term::Seconds(60)), "egress").await.unwrap();
        assert!(stage.queue.grants()[0].until.is_some_and(|until| until > now()));
        let mut granted = stage.queue.granted();
        granted.wait_for(Vec::is_empty).await.unwrap();
        let end = stage.queue.end("abc", GrantEnd::Revoked).await;
        assert!(matches!(end, Err(Refusal::NoGrant)));
        assert!(stage.done.borrow().contains(&"\"grant_ended\" null".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_names_are_letters() {
    on_stage(async |stage| {
        for id in ["", "../x", "A", "a/b"] {
            assert!(stage.ask(id).is_err(), "{id}");
        }
        let long = "x".repeat(MAX_REQUEST + 1);
        assert!(stage.queue.ask(Asker::Egress, "long", "held", long, now() + 1).is_err());
        for number in 0..MAX_WAITING {
            let id = format!("a{}", "b".repeat(number % 31)) + ["", "c", "d"][number / 31];
            stage.ask(&id).unwrap();
        }
        assert!(stage.ask("one").unwrap_err().contains("too many"));
        stage.queue.withdraw(Asker::Egress, "a");
        assert!(stage.file("a", REQUEST).is_some(), "of another gate");
        stage.queue.withdraw_all(Asker::Supervise);
        assert!(stage.file("a", REQUEST).is_none());
        stage.ask("one").unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_is_answered_and_old_answers_go() {
    on_stage(async |stage| {
        stage.ask("abc").unwrap();
        let directory = stage.dir.path().join("q");
        fs::write(directory.join(".half.new"), "{").unwrap();
        for number in 0..300_u32 {
            let letter = |shift: u32| char::from(b'a' + u8::try_from(number / shift % 26).unwrap());
            let id: String = [letter(676), letter(26), letter(1), 'z'].iter().collect();
            fs::write(directory.join(format!("{id}{REQUEST}")), "x").unwrap();
        }
        let (records, _to_record) = mpsc::channel(1);
        let (next, _ends) = Queue::open(directory.clone(), EgressPolicy::default(), records).unwrap();
        assert!(next.past().is_empty() && next.grants().is_empty());
        let answers = fs::read_dir(&directory).unwrap().flatten();
        let answers = answers.filter(|entry| entry.file_name().to_string_lossy().ends_with(DECISION)).count();
        assert_eq!(answers, 256);
    })
    .await;
}
