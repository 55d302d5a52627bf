//! How much may leave, said by flags and met by curl in a bottle.

use crate::stage::Stage;

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
