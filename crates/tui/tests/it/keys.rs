//! What keys do.

use crate::{after, host, key, pressed, typed};
use bottle_tui::{
    action::{Action, Less, Reply, Term},
    event::{BottleState, Event, Key, Request},
    state::{Pane, State},
};

const YES: Event = Event::Key(Key::Char('y'));
const ENTER: Event = Event::Key(Key::Enter);
const DOWN: Event = Event::Key(Key::Down);

fn answer(request: &Request, reply: Reply) -> Option<Action> {
    Some(Action::Answer { id: request.id.clone(), digest: request.digest.clone(), reply })
}

fn approve(term: Term, less: Less) -> Reply {
    Reply::Approve { term, less, answer: None }
}

fn feed(state: &mut State, keys: &[Key]) -> Option<Action> {
    keys.iter().map(|key| state.update(Event::Key(*key))).last().flatten()
}

#[test]
fn a_yes_is_to_what_was_on_the_screen_and_takes_two_keys() {
    let mut state = pressed(&[]);
    for (c, term) in [('a', Term::AsAsked), ('o', Term::Once), ('m', Term::Minutes(10))] {
        assert_eq!(state.update(key(c)), None);
        assert_eq!(state.update(YES), answer(&host::egress(), approve(term, Less::default())));
    }
    assert_eq!(feed(&mut state, &typed("any")), None, "n is no");
    assert_eq!(state.update(YES), None, "nothing is asked any more");
    // Read whole first, and answered from there.
    assert_eq!(feed(&mut state, &[Key::Enter, Key::Char('y')]), None);
    assert!(feed(&mut state, &typed("ay")).is_some());
    // A push has no time of its own.
    assert_eq!(feed(&mut state, &[Key::Down, Key::Char('o'), Key::Char('y')]), None);
    assert!(state.said().contains("no time"), "{}", state.said());
    assert_eq!(feed(&mut state, &typed("ay")), answer(&host::push(), approve(Term::AsAsked, Less::default())));
}

#[test]
fn a_yes_to_less_names_what_is_left() {
    let clear = [Key::Control('u')];
    let walk = |parts: &[&[Key]]| {
        let mut state = pressed(&typed("n"));
        feed(&mut state, &parts.concat());
        feed(&mut state, &[Key::Enter, Key::Char('y')])
    };
    let words = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let less = Less { methods: words(&["GET"]), ..Less::default() };
    let narrowed = walk(&[&clear, &typed("get")]);
    assert_eq!(narrowed, answer(&host::egress(), approve(Term::AsAsked, less)));
    let less = Less { paths: words(&["/a/**", "/b"]), ..Less::default() };
    let narrowed = walk(&[&[Key::Tab], &typed("/a/**, /b"), &[Key::Tab], &typed("2h")]);
    assert_eq!(narrowed, answer(&host::egress(), approve(Term::Minutes(120), less)));
    let narrowed = walk(&[&[Key::BackTab], &typed("once")]);
    assert_eq!(narrowed, answer(&host::egress(), approve(Term::Once, Less::default())), "the rest is as it was");
    let mut state = pressed(&typed("n"));
    assert_eq!(feed(&mut state, &[&[Key::BackTab][..], &typed("soon"), &[Key::Enter, Key::Char('y')]].concat()), None);
    assert!(state.said().contains("is no time"), "{}", state.said());
    let mut state = pressed(&[Key::Down, Key::Down]);
    let keys = [typed("n"), clear.to_vec(), typed("refs/heads/fix"), vec![Key::Enter, Key::Char('y')]].concat();
    let less = Less { refs: words(&["refs/heads/fix"]), ..Less::default() };
    assert_eq!(feed(&mut state, &keys), answer(&host::refs(), approve(Term::AsAsked, less)));
    assert_eq!(feed(&mut pressed(&[Key::Down]), &typed("n")), None);
}

#[test]
fn a_no_has_a_word_for_the_agent_or_none() {
    let mut state = pressed(&typed("d"));
    let why = |text: Option<&str>| Reply::Deny { why: text.map(str::to_owned) };
    assert_eq!(state.update(ENTER), answer(&host::egress(), why(None)));
    state.update(key('d'));
    // Letters are text here, whatever else they mean.
    assert_eq!(feed(&mut state, &typed("ya q? use GET")), None);
    state.update(Event::Pasted(" or\nask again".to_owned()));
    assert_eq!(state.update(ENTER), answer(&host::egress(), why(Some("ya q? use GET or ask again"))));
    assert_eq!(feed(&mut state, &[Key::Char('d'), Key::Escape, Key::Enter]), None);
}

#[test]
fn a_question_is_answered_by_a_choice_or_in_words() {
    let chosen =
        |text: &str| Reply::Approve { term: Term::AsAsked, less: Less::default(), answer: Some(text.to_owned()) };
    let question = host::question(&["SQLite", "PostgreSQL"]);
    let asked = |question: &Request| after(&[Event::Requests(vec![question.clone()])]);
    let mut state = asked(&question);
    assert_eq!(
        feed(&mut state, &[Key::Char('a'), Key::Down, Key::Down, Key::Enter]),
        answer(&question, chosen("PostgreSQL"))
    );
    assert_eq!(
        feed(&mut state, &[Key::Char('a'), Key::Char('2'), Key::Char('1'), Key::Enter]),
        answer(&question, chosen("SQLite"))
    );
    let question = host::question(&[]);
    let mut state = asked(&question);
    assert_eq!(feed(&mut state, &[Key::Char('a'), Key::Enter]), None, "an answer has words");
    assert_eq!(feed(&mut state, &[typed("MariaDB"), vec![Key::Enter]].concat()), answer(&question, chosen("MariaDB")));
    assert_eq!(feed(&mut state, &typed("n")), None);
    assert!(state.said().contains("nothing to narrow"));
}

#[test]
fn a_request_that_changed_or_went_takes_its_question_with_it() {
    let changes: [fn(&mut Vec<Request>); 2] = [|all| drop(all.remove(0)), |all| all[0].digest.push('x')];
    for (change, keys) in changes.into_iter().flat_map(|change| ["a", "n", "dno"].map(|keys| (change, keys))) {
        let mut state = pressed(&typed(keys));
        let mut changed = host::requests();
        change(&mut changed);
        state.update(Event::Requests(changed));
        assert!(state.modal().is_none() && state.said().contains("no more"), "{keys}");
        assert_eq!(state.update(YES), None);
        assert_eq!(state.update(ENTER), None);
    }
    // One that stays is not disturbed by those beside it.
    let mut state = pressed(&typed("a"));
    state.update(Event::Requests(host::requests().into_iter().take(1).collect()));
    assert!(state.update(YES).is_some());
}

#[test]
fn a_selection_stays_with_its_request_and_its_bottle() {
    let mut state = pressed(&[Key::Down, Key::Char('1'), Key::Down]);
    let mut more = host::requests();
    more.insert(0, Request { id: "zzzzzz".to_owned(), ..host::egress() });
    state.update(Event::Requests(more));
    assert_eq!(state.selected_request(), Some(2));
    let bottles =
        vec![host::bottle("a-bcdef", BottleState::Running), host::bottle("review-abcde", BottleState::Running)];
    state.update(Event::Bottles { now: host::NOW, bottles });
    assert_eq!(state.selected_bottle(), Some(1));
}

#[test]
fn the_kill_switch_is_one_key_and_goes_both_ways() {
    let mut state = pressed(&typed("1"));
    let freeze = |bottle: &str, frozen| Some(Action::Freeze { bottle: bottle.to_owned(), frozen });
    assert_eq!(state.update(key('f')), freeze("fix-kqzmb", true));
    state.update(DOWN);
    assert_eq!(state.update(key('f')), freeze("review-abcde", false));
    state.update(DOWN);
    assert_eq!(state.update(key('f')), None);
    assert!(state.said().contains("stopped"), "{}", state.said());
}

#[test]
fn bottles_are_joined_stopped_resumed_and_started() {
    let mut state = pressed(&typed("1"));
    let bottle = |name: &str| name.to_owned();
    assert_eq!(state.update(key('t')), Some(Action::Attach { bottle: bottle("fix-kqzmb") }));
    assert_eq!(state.update(key('x')), None, "it is asked about first");
    assert_eq!(state.update(YES), Some(Action::Stop { bottle: bottle("fix-kqzmb") }));
    assert_eq!(feed(&mut state, &typed("xny")), None);
    assert_eq!(feed(&mut state, &typed("r")), None);
    assert!(state.said().contains("only a stopped one"), "{}", state.said());
    assert_eq!(
        feed(&mut state, &[Key::End, Key::Char('r'), Key::Char('y')]),
        Some(Action::Resume { bottle: bottle("tidy-zyxwv") })
    );
    assert_eq!(state.update(key('s')), Some(Action::Agents));
    state.update(Event::Agents(vec!["reviewer".to_owned(), "fixer".to_owned()]));
    state.update(DOWN);
    let agent = || "fixer".to_owned();
    assert_eq!(state.update(ENTER), Some(Action::Preflight { agent: agent() }));
    state.update(Event::Preflight { agent: agent(), lines: vec!["routes".to_owned()] });
    assert_eq!(state.update(YES), Some(Action::Start { agent: agent() }));
    state.update(Event::Agents(Vec::new()));
    assert!(state.modal().is_none() && state.said().contains("init"));
}

#[test]
fn a_preflight_that_comes_late_covers_nothing() {
    let mut state = pressed(&typed("a"));
    state.update(Event::Preflight { agent: "fixer".to_owned(), lines: Vec::new() });
    assert_eq!(state.update(YES), answer(&host::egress(), approve(Term::AsAsked, Less::default())));
}

#[test]
fn panes_are_walked_and_the_log_is_of_the_selected_bottle() {
    let mut state = pressed(&[]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(state.pane());
        state.update(Event::Key(Key::Tab));
    }
    assert_eq!(seen, [Pane::Requests, Pane::Decisions, Pane::Logs, Pane::Bottles]);
    state.update(Event::Key(Key::BackTab));
    assert_eq!(state.pane(), Pane::Bottles);
    assert_eq!(state.log_of(), None, "nobody sees it");
    feed(&mut state, &[Key::Down, Key::Char('4')]);
    assert_eq!(state.log_of(), Some("review-abcde"));
    state.update(key('1'));
    state.update(Event::Resized { width: 200, height: 50 });
    assert_eq!(state.log_of(), Some("review-abcde"), "there is room for it");
    assert_eq!(feed(&mut state, &typed("?q")), None, "q leaves the help first");
    assert_eq!(feed(&mut state, &typed("q")), Some(Action::Quit));
    assert_eq!(feed(&mut state, &[Key::Control('c')]), Some(Action::Quit));
}
