//! Which key does what: one table, by which keys are read, and from which the last line and the help are made.
//!
//! Invariant: no key of the table that changes anything does it without a second one, but those that freeze and thaw.

use crate::{
    action::Term,
    event::Key,
    state::{Modal, Pane},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Next,
    Previous,
    Go(Pane),
    Show,
    Back,
    Approve(Term),
    Narrow,
    Deny,
    Freeze,
    Attach,
    Stop,
    Start,
    Resume,
    OneBottle,
    OneVerdict,
    Yes,
    Help,
    Quit,
}

/// Where a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where nothing lies over the panes, and in a modal that shows something.
    Everywhere,
    Panes,
    Pane(Pane),
    /// A request is shown whole.
    Request,
    /// Something is asked that takes a yes.
    Question,
    /// A text is written.
    Text,
}

pub(crate) struct Binding {
    pub(crate) keys: &'static [Key],
    /// As a person reads them.
    pub(crate) shown: &'static str,
    pub(crate) does: &'static str,
    /// In the last line, where there is little room; empty = in the help alone.
    pub(crate) short: &'static str,
    pub(crate) place: Place,
    /// `None` = read where the text is.
    pub(crate) wish: Option<Wish>,
}

const fn key(
    keys: &'static [Key],
    shown: &'static str,
    does: &'static str,
    short: &'static str,
    place: Place,
    wish: Wish,
) -> Binding {
    Binding { keys, shown, does, short, place, wish: Some(wish) }
}

const fn text(shown: &'static str, does: &'static str, short: &'static str) -> Binding {
    Binding { keys: &[], shown, does, short, place: Place::Text, wish: None }
}

use Key::{BackTab, Char, Control, Down, End, Enter, Escape, Home, PageDown, PageUp, Tab, Up};
use Place::{Everywhere, Panes, Question, Request};

const BOTTLES: Place = Place::Pane(Pane::Bottles);
const REQUESTS: Place = Place::Pane(Pane::Requests);
const DECISIONS: Place = Place::Pane(Pane::Decisions);

pub(crate) const KEYS: &[Binding] = &[
    key(
        &[Char('a')],
        "a",
        "approve as it was asked; answer a question",
        "approve",
        REQUESTS,
        Wish::Approve(Term::AsAsked),
    ),
    key(&[Char('n')], "n", "approve less: methods, paths, refs, time", "narrow", REQUESTS, Wish::Narrow),
    key(&[Char('o')], "o", "approve for one request", "once", REQUESTS, Wish::Approve(Term::Once)),
    key(&[Char('m')], "m", "approve for ten minutes", "10m", REQUESTS, Wish::Approve(Term::Minutes(10))),
    key(&[Char('d')], "d", "deny, with a word to the agent", "deny", REQUESTS, Wish::Deny),
    key(&[Char('a')], "a", "approve it as it was asked; answer it", "approve", Request, Wish::Approve(Term::AsAsked)),
    key(&[Char('n')], "n", "approve less of it", "narrow", Request, Wish::Narrow),
    key(&[Char('o')], "o", "approve it for one request", "once", Request, Wish::Approve(Term::Once)),
    key(&[Char('m')], "m", "approve it for ten minutes", "10m", Request, Wish::Approve(Term::Minutes(10))),
    key(&[Char('d')], "d", "deny it, with a word to the agent", "deny", Request, Wish::Deny),
    key(&[Char('f')], "f", "freeze the bottle, or let it go on", "freeze", BOTTLES, Wish::Freeze),
    key(
        &[Char('t')],
        "t",
        "join the agent's terminal; in a pane of its own within tmux",
        "attach",
        BOTTLES,
        Wish::Attach,
    ),
    key(&[Char('x')], "x", "stop the bottle", "stop", BOTTLES, Wish::Stop),
    key(&[Char('r')], "r", "resume a stopped bottle", "resume", BOTTLES, Wish::Resume),
    key(&[Char('s')], "s", "start an agent, after the preflight", "start", BOTTLES, Wish::Start),
    key(&[Char('b')], "b", "decisions of the selected bottle alone, or of all", "bottle", DECISIONS, Wish::OneBottle),
    key(&[Char('v')], "v", "decisions of one verdict alone, or of all", "verdict", DECISIONS, Wish::OneVerdict),
    key(&[Char('y')], "y", "yes", "yes", Question, Wish::Yes),
    key(&[Char('n')], "n", "no", "no", Question, Wish::Back),
    key(&[Enter], "enter", "show the selected whole", "show", Panes, Wish::Show),
    key(&[Tab, Key::Right], "tab →", "next pane", "", Panes, Wish::Next),
    key(&[BackTab, Key::Left], "shift-tab ←", "previous pane", "", Panes, Wish::Previous),
    key(&[Char('1')], "1", "bottles", "", Panes, Wish::Go(Pane::Bottles)),
    key(&[Char('2')], "2", "requests", "", Panes, Wish::Go(Pane::Requests)),
    key(&[Char('3')], "3", "decisions", "", Panes, Wish::Go(Pane::Decisions)),
    key(&[Char('4')], "4", "log of the selected bottle", "", Panes, Wish::Go(Pane::Logs)),
    key(&[Up, Char('k')], "↑ k", "up", "", Everywhere, Wish::Up),
    key(&[Down, Char('j')], "↓ j", "down", "", Everywhere, Wish::Down),
    key(&[PageUp], "page up", "a page up", "", Everywhere, Wish::PageUp),
    key(&[PageDown, Char(' ')], "page down, space", "a page down", "", Everywhere, Wish::PageDown),
    key(&[Home, Char('g')], "home g", "to the beginning", "", Everywhere, Wish::First),
    key(&[End, Char('G')], "end G", "to the end", "", Everywhere, Wish::Last),
    key(&[Escape], "esc", "back", "", Everywhere, Wish::Back),
    key(&[Char('?')], "?", "this help", "help", Everywhere, Wish::Help),
    key(
        &[Char('q'), Control('c')],
        "q",
        "back, or leave the dashboard; the bottles run on",
        "quit",
        Everywhere,
        Wish::Quit,
    ),
    text("enter", "send what was written", "send"),
    text("tab ↑ ↓", "next field, or choice", "next"),
    text("ctrl-u", "clear the field", ""),
    text("esc", "leave it", "back"),
];

/// What this key means where the person is.
pub(crate) fn wish(key: Key, place: Place) -> Option<Wish> {
    let binding = KEYS.iter().find(|binding| counts(binding.place, place) && binding.keys.contains(&key));
    binding.and_then(|binding| binding.wish)
}

fn counts(binding: Place, place: Place) -> bool {
    match binding {
        Everywhere => true,
        Panes => matches!(place, Place::Pane(_)),
        other => other == place,
    }
}

/// Where the person is.
pub(crate) fn place(pane: Pane, modal: Option<&Modal>) -> Place {
    match modal {
        None => Place::Pane(pane),
        Some(Modal::Request { then: None, .. }) => Place::Request,
        Some(Modal::Request { .. } | Modal::Preflight { .. } | Modal::Sure { .. }) => Place::Question,
        Some(Modal::Words { .. } | Modal::Narrow { .. } | Modal::Choose { .. } | Modal::Agents { .. }) => Place::Text,
        Some(Modal::Text { .. } | Modal::Help) => Place::Everywhere,
    }
}

/// Of the last line of the screen: one key of each.
pub(crate) fn hints(place: Place) -> Vec<(&'static str, &'static str)> {
    let said = |binding: &&Binding| !binding.short.is_empty() && counts(binding.place, place);
    // A text takes every key as a part of it.
    let own = |binding: &&Binding| place != Place::Text || binding.place == Place::Text;
    let first = |shown: &'static str| shown.split(' ').next().unwrap_or(shown);
    KEYS.iter().filter(said).filter(own).map(|binding| (first(binding.shown), binding.short)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [Place; 8] =
        [BOTTLES, REQUESTS, DECISIONS, Place::Pane(Pane::Logs), Request, Question, Place::Text, Everywhere];

    #[test]
    fn the_last_line_of_a_small_screen_has_room_for_its_keys() {
        for place in PLACES {
            let width: usize = hints(place).iter().map(|(key, does)| key.chars().count() + does.len() + 3).sum();
            assert!(width <= 80 + 2, "{place:?}: {width}");
        }
    }

    #[test]
    fn no_key_means_two_things_at_one_place() {
        for place in PLACES {
            let mut seen = Vec::new();
            for binding in KEYS.iter().filter(|binding| counts(binding.place, place)) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} at {place:?}");
                    seen.push(*key);
                }
            }
        }
    }
}
