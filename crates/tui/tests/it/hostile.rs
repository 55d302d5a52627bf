//! Agents' texts that would do something to a terminal, hide something, or be many.

use crate::{after, drawn, host, key, pressed, screen};
use bottle_tui::{
    draw::Colours,
    event::{BottleState, DiffKind, DiffLine, Event, Key, Logs, Request, Verdict},
};

/// Colours, a title, the clipboard, C1, a bell, direction, invisibles, a tag, a line break.
const EVIL: &str = "\u{1b}[31mred\u{1b}]0;t\u{7}\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}rev\u{200b}\u{e0041}\r\n\tend";

fn evil() -> Vec<Event> {
    let mut bottle = host::bottle(EVIL, BottleState::Running);
    bottle.agent = EVIL.to_owned();
    let line = DiffLine { kind: DiffKind::Added, text: format!("+{EVIL}") };
    let texts = vec![EVIL.to_owned()];
    let request = Request {
        bottle: EVIL.to_owned(),
        summary: EVIL.to_owned(),
        risks: texts.clone(),
        whole: texts.clone(),
        diff: vec![DiffLine { kind: DiffKind::File, text: format!("diff --git a/{EVIL}.rs b/x.rs") }, line],
        ..host::egress()
    };
    let question = Request { choices: texts.clone(), summary: EVIL.to_owned(), ..host::question(&[]) };
    vec![
        Event::Bottles { now: host::NOW, bottles: vec![bottle] },
        Event::Requests(vec![request, question]),
        Event::Decided(vec![host::decision(EVIL, 1, Verdict::Deny, EVIL)]),
        Event::Logs(Logs { bottle: EVIL.to_owned(), lines: texts }),
        Event::Said(EVIL.to_owned()),
    ]
}

#[test]
fn nothing_of_an_agents_text_is_drawn_raw() {
    let preflight = Event::Preflight { agent: EVIL.to_owned(), lines: vec![EVIL.to_owned()] };
    let agents = Event::Agents(vec![EVIL.to_owned()]);
    let (enter, down) = (Event::Key(Key::Enter), Event::Key(Key::Down));
    let walks: [&[Event]; 14] = [
        &[],
        &[key('1')],
        &[key('3')],
        &[key('3'), key('b')],
        &[key('4')],
        std::slice::from_ref(&enter),
        &[key('a')],
        &[key('n')],
        &[key('d'), Event::Pasted(EVIL.to_owned())],
        &[down, key('a')],
        &[key('1'), enter.clone()],
        &[key('3'), enter.clone()],
        &[preflight],
        &[agents],
    ];
    for (walk, size) in walks.iter().flat_map(|walk| [(walk, (80, 24)), (walk, (200, 50))]) {
        let state = after(&[&evil(), *walk].concat());
        let screen = screen(state, size.0, size.1);
        let raw = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202e}' | '\u{200b}' | '\u{e0041}'));
        assert!(!screen.contains(raw), "{walk:?}: {screen}");
        assert!(screen.contains("red"), "{walk:?}: {screen}");
    }
}

#[test]
fn the_end_of_a_long_line_can_be_scrolled_to() {
    let mut request = host::egress();
    request.whole = vec![format!("reason     {} and the end of it", "x".repeat(20_000))];
    let events = [Event::Requests(vec![request]), Event::Key(Key::Enter), Event::Key(Key::End)];
    let screen = screen(after(&events), 80, 24);
    assert!(screen.contains("and the end of it"), "{screen}");
    assert!(!screen.contains("lines more"), "{screen}");
}

#[test]
fn a_flood_of_requests_and_decisions_is_a_list_that_is_scrolled() {
    let requests: Vec<Request> = (0..10_000).map(|n| Request { id: format!("r{n}"), ..host::egress() }).collect();
    let decision = |seq| host::decision("fix-kqzmb", seq, Verdict::Deny, &format!("deny  number {seq}"));
    let mut state = after(&[Event::Requests(requests), Event::Key(Key::End)]);
    for start in (0..10_000).step_by(1000) {
        state.update(Event::Decided((start..start + 1000).map(decision).collect()));
    }
    assert_eq!(state.selected_request(), Some(9_999));
    state.update(key('3'));
    let at_the_end = screen_text(&state);
    assert!(at_the_end.contains("number 9999"), "{at_the_end}");
    // Who looks back goes on seeing the same.
    for _ in 0..50 {
        state.update(Event::Key(Key::Up));
    }
    let back = screen_text(&state);
    state.update(Event::Decided((10_000..10_100).map(decision).collect()));
    assert_eq!(screen_text(&state), back);
    state.update(Event::Key(Key::End));
    assert!(screen_text(&state).contains("number 10099"));
    state.update(Event::Key(Key::Home));
    assert!(screen_text(&state).contains("number 8100"), "2000 are kept: {}", screen_text(&state));
}

fn screen_text(state: &bottle_tui::state::State) -> String {
    let buffer = drawn(state, 80, 24, Colours::None);
    buffer.content.chunks(80).map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

#[test]
fn a_recording_that_is_none_is_told_with_its_line() {
    assert_eq!(bottle_tui::runner::replay(&b"{}"[..]).unwrap_err().to_string(), "line 1 of the recording is no event");
    assert!(pressed(&[]).modal().is_none());
}
