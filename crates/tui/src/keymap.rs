//! Which key does what.

use crate::{action::Term, event::Key};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Up,
    Down,
    OtherPane,
    Show,
    Back,
    Approve(Term),
    Deny,
    Freeze,
    Yes,
    Quit,
}

/// Of the last line of the screen.
pub(crate) const HELP: &str = "enter show  a approve  o once  m 10 minutes  d deny  f freeze/thaw  tab pane  q quit";

pub(crate) fn wish(key: Key) -> Option<Wish> {
    Some(match key {
        Key::Up | Key::Char('k') => Wish::Up,
        Key::Down | Key::Char('j') => Wish::Down,
        Key::Tab => Wish::OtherPane,
        Key::Enter => Wish::Show,
        Key::Escape | Key::Char('n') => Wish::Back,
        Key::Char('a') => Wish::Approve(Term::AsAsked),
        Key::Char('o') => Wish::Approve(Term::Once),
        Key::Char('m') => Wish::Approve(Term::Minutes(10)),
        Key::Char('d') => Wish::Deny,
        Key::Char('f') => Wish::Freeze,
        Key::Char('y') => Wish::Yes,
        Key::Char('q') => Wish::Quit,
        _ => return None,
    })
}
