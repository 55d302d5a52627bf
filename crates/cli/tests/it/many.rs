//! Many bottles at once.

use crate::stage::{HOST, Stage};
use bottle_testkit::{Running, wait_until};
use std::time::Duration;

const BOTTLES: usize = 50;

#[test]
fn fifty_bottles_started_at_once_all_come_up_and_go() {
    let stage = Stage::new();
    let flags = ["--allow", HOST];
    let started: Vec<Running> = (0..BOTTLES)
        .map(|_| stage.spawn(&flags, &["curl", "-sSf", "-o", "/dev/null", "https://up.test/echo"]))
        .collect();
    for running in started {
        running.finish(Duration::from_secs(120)).success();
    }
    assert_eq!(stage.upstream.seen().len(), BOTTLES);
    wait_until("the last keeper to end", Duration::from_secs(30), || stage.env.leftovers().is_empty());
}
