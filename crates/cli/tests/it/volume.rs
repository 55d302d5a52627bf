//! How much may leave, said by flags and met by curl in a bottle.

use crate::stage::Stage;
use bottle_testkit::wait_until;
use std::{os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_budget_of_a_flag_is_met_by_what_runs_inside() {
    let stage = Stage::new();
    let script = "for path in a b c; do curl -s -o answer -D head -w '%{http_code} ' https://up.test/echo/$path; done; \
                  grep -i retry-after head; cat answer";
    let run = |budget: &str| stage.run(&["--allow", "up.test", "--budget", budget], &["sh", "-c", script]);
    let ran = run("requests=2");
    assert!(ran.stdout.starts_with("200 200 429 "), "{ran:?}");
    assert!(ran.stdout.to_lowercase().contains("retry-after: "), "{ran:?}");
    assert!(ran.stdout.contains(r#""budget":"requests""#) && ran.stdout.contains("--budget requests="), "{ran:?}");
    assert!(run("requests=3").stdout.starts_with("200 200 200 "));
}

#[test]
fn a_scraper_on_the_host_sees_what_was_done() {
    let stage = Stage::new();
    let script =
        "curl -s -o /dev/null -d hello https://up.test/echo; curl -s -o /dev/null https://denied.test/; sleep 60";
    let flags = ["--allow", "up.test", "--budget", "requests=5", "--name", "meter-kqzmb"];
    let running = stage.spawn(&flags, &["sh", "-c", script]);
    let socket = stage.env.root().join("run/bot-bottle/meter-kqzmb/metrics.sock");
    let scraped = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "10", "--unix-socket"]).arg(&socket).args(["-i", "http://localhost/metrics"]);
        let output = curl.output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_until("the denial to be counted", SOON, || {
        scraped().contains("bot_bottle_denials_total{reason=\"no_route\"} 2")
    });
    let text = scraped();
    for line in [
        "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r",
        "bot_bottle_sent_bytes_total{host=\"up.test\"} 5",
        "bot_bottle_budget_requests 5",
        "bot_bottle_budget_requests_spent 1",
        "bot_bottle_frozen 0",
        "# EOF",
    ] {
        assert!(text.split('\n').any(|it| it == line), "{line} in {text}");
    }
    assert!(!text.contains("denied.test"), "{text}");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(stage.env.run(&["stop", "meter-kqzmb"]).code, Some(0));
    drop(running);
}
