//! Questions at a terminal: what is shown before them, and that only a yes is one.

use crate::{screen::Screen, stage};
use bottle_testkit::TestEnv;

const ASKED: &str = "Start this bottle? [y/N]";
const TRUST: &str = "Trust it, as it stands here? [y/N]";

fn env() -> TestEnv {
    let env = TestEnv::new(stage::program());
    env.bottle("plain", "image: host\n");
    env.agent("asker", "bottle: plain\nprovider: command\ncommand: [echo, it-runs-4242]");
    env
}

#[test]
fn a_start_is_asked_about_and_only_a_yes_starts() {
    let env = env();
    for (answer, code) in [("\r", 5), ("n\r", 5), ("yep\r", 5), ("\x04", 5), ("y\r", 0), ("YES\r", 0)] {
        let mut screen = Screen::open(&env, &["start", "asker"]);
        screen.shows(ASKED);
        let before = screen.text();
        assert!(before.contains("asker") && before.contains("(none)"), "the preflight comes first: {before}");
        screen.types(answer);
        if code == 0 {
            // The command stands in the preflight, too.
            screen.shows("it-runs-4242\r\n");
        } else {
            screen.shows("nothing was started");
        }
        assert_eq!(screen.ends(), Some(code), "{answer:?}");
    }
    env.run(&["cleanup", "--all", "--yes"]).success();
    assert!(env.leftovers().is_empty());
}

#[test]
fn a_projects_agent_is_asked_about_once_for_each_of_its_texts() {
    let env = env();
    let text =
        |says: &str| format!("---\nbottle: plain\nprovider: command\ncommand: [echo, {says}]\n---\n\u{1b}[31mred\n");
    let directory = env.work().join(".bot-bottle/agents");
    std::fs::create_dir_all(&directory).unwrap();
    let write = |says: &str| std::fs::write(directory.join("guest.md"), text(says)).unwrap();
    let start = || Screen::open(&env, &["start", "guest", "--yes"]);

    write("first-4242");
    let mut screen = start();
    screen.shows(TRUST);
    assert!(!screen.text().contains("\u{1b}[31m"), "its text moves nothing: {}", screen.text());
    screen.types("n\r");
    screen.shows("was not trusted");
    assert_eq!(screen.ends(), Some(5));

    let mut screen = start();
    screen.shows(TRUST);
    screen.types("y\r");
    assert_eq!(screen.ends(), Some(0));

    let screen = start();
    screen.shows("first-4242");
    assert!(!screen.text().contains(TRUST), "asked twice: {}", screen.text());
    assert_eq!(screen.ends(), Some(0));

    write("second-4242");
    let mut screen = start();
    screen.shows(TRUST);
    screen.types("\r");
    assert_eq!(screen.ends(), Some(5));
    env.run(&["cleanup", "--all", "--yes"]).success();
    assert!(env.leftovers().is_empty());
}
