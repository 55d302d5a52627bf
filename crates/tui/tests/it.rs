//! The dashboard by its events: what a recording leads to, and what is on the screen then.

use bottle_tui::{
    action::{Action, Less, Reply, Term},
    draw::draw,
    event::{Bottle, BottleState, Event, Key, Kind, Request},
    runner::replay,
    state::State,
};
use ratatui::{Terminal, backend::TestBackend};

fn request(id: &str, summary: &str) -> Request {
    Request {
        id: id.to_owned(),
        digest: format!("{id}-digest"),
        bottle: "fix-kqzmb".to_owned(),
        summary: summary.to_owned(),
        risks: vec!["a host that the bottle could not reach before".to_owned()],
        whole: vec![
            format!("{id}  fix-kqzmb  {summary}"),
            "reason     to read \u{1b}[31mthe docs\u{202e}".to_owned(),
            "risk       a host that the bottle could not reach before".to_owned(),
        ],
        kind: Kind::Egress,
        diff: Vec::new(),
        made: 0,
        expires: 1_800_000,
        asks: None,
        choices: Vec::new(),
    }
}

fn bottles() -> Event {
    let bottle = |name: &str, state| Bottle {
        name: name.to_owned(),
        agent: "claude".to_owned(),
        state,
        created: Some(0),
        cpu: None,
        memory: None,
        traffic: Vec::new(),
        allowed: 0,
        denied: 0,
    };
    let bottles = vec![bottle("fix-kqzmb", BottleState::Running), bottle("review-abcde", BottleState::Frozen)];
    Event::Bottles { now: 240_000, bottles }
}

fn requests() -> Vec<Request> {
    vec![request("abcdef", "send to docs.rs:443  GET on every path"), request("ghijkl", "asks: a\u{7}b")]
}

fn after(events: &[Event]) -> State {
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).expect("an event")).collect();
    replay(lines.join("\n").as_bytes()).expect("a recording")
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, state)).expect("it draws");
    terminal.backend().to_string()
}

const APPROVE: Event = Event::Key(Key::Char('a'));

#[test]
fn what_is_asked_and_who_asks_is_on_the_screen() {
    for (width, height) in [(80, 24), (200, 50)] {
        let list = screen(&after(&[bottles(), Event::Requests(requests())]), width, height);
        for part in
            ["fix-kqzmb", "running", "review-abcde", "frozen", "abcdef", "docs.rs:443", "requests: 2", "a approve"]
        {
            assert!(list.contains(part), "{part}: {list}");
        }
        let asked = screen(&after(&[bottles(), Event::Requests(requests()), APPROVE]), width, height);
        for part in ["approve this, as it stands here? y/n", "to read \\u{1b}[31mthe docs", "could not reach before"] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
    }
}

#[test]
fn nothing_of_an_agents_text_is_drawn_raw() {
    for keys in [&[][..], &[APPROVE]] {
        let screen = screen(&after(&[&[bottles(), Event::Requests(requests())], keys].concat()), 120, 30);
        assert!(screen.chars().all(|c| c == '\n' || !c.is_control()), "{screen}");
        assert!(!screen.contains('\u{202e}'), "{screen}");
    }
}

#[test]
fn a_yes_is_to_what_was_on_the_screen_and_takes_two_keys() {
    let mut state = after(&[bottles(), Event::Requests(requests()), Event::Key(Key::Down)]);
    for (key, term) in [('a', Term::AsAsked), ('o', Term::Once), ('m', Term::Minutes(10))] {
        assert_eq!(state.update(Event::Key(Key::Char(key))), None);
        let (id, digest) = ("ghijkl".to_owned(), "ghijkl-digest".to_owned());
        let reply = Reply::Approve { term, less: Less::default(), answer: None };
        assert_eq!(state.update(Event::Key(Key::Char('y'))), Some(Action::Answer { id, digest, reply }));
    }
    assert_eq!(state.update(APPROVE), None);
    assert_eq!(state.update(Event::Key(Key::Char('n'))), None);
    assert_eq!(state.update(Event::Key(Key::Char('y'))), None, "nothing is asked any more");
}

#[test]
fn a_request_that_changed_or_went_takes_its_question_with_it() {
    for change in [|all: &mut Vec<Request>| drop(all.remove(0)), |all: &mut Vec<Request>| all[0].digest.push('x')] {
        let mut state = after(&[bottles(), Event::Requests(requests()), APPROVE]);
        let mut changed = requests();
        change(&mut changed);
        state.update(Event::Requests(changed));
        assert!(state.modal().is_none() && state.said().contains("no more"));
        assert_eq!(state.update(Event::Key(Key::Char('y'))), None);
    }
}

#[test]
fn a_selection_stays_with_its_request() {
    let mut state = after(&[bottles(), Event::Requests(requests()), Event::Key(Key::Down)]);
    let mut more = requests();
    more.insert(0, request("zzzzzz", "send to x.test"));
    state.update(Event::Requests(more));
    assert_eq!(state.selected_request(), Some(2));
}

#[test]
fn the_kill_switch_is_one_key_and_goes_both_ways() {
    let mut state = after(&[bottles(), Event::Requests(requests())]);
    let freeze = |bottle: &str, frozen| Some(Action::Freeze { bottle: bottle.to_owned(), frozen });
    assert_eq!(state.update(Event::Key(Key::Char('f'))), freeze("fix-kqzmb", true));
    state.update(Event::Key(Key::Tab));
    state.update(Event::Key(Key::Down));
    assert_eq!(state.update(Event::Key(Key::Char('f'))), freeze("review-abcde", false));
    assert_eq!(state.update(Event::Key(Key::Char('q'))), Some(Action::Quit));
}

#[test]
fn a_question_is_not_answered_by_a_key() {
    let mut asking = requests();
    asking[0].kind = Kind::Question;
    let mut state = after(&[Event::Requests(asking)]);
    assert_eq!(state.update(APPROVE), None);
    assert!(state.modal().is_none() && state.said().contains("--answer"));
    assert_eq!(replay(&b"{}"[..]).unwrap_err().to_string(), "line 1 of the recording is no event");
}
