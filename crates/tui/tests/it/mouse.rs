//! What the mouse does: where a thing is pressed is where it was drawn.

use crate::{host, key, pressed, screen};
use bottle_tui::{
    event::{Event, Mouse},
    state::{Modal, Pane, State},
};

fn press(column: u16, row: u16) -> Event {
    Event::Mouse(Mouse::Press { column, row })
}

fn scroll(column: u16, row: u16, down: bool) -> Event {
    Event::Mouse(Mouse::Scroll { column, row, down })
}

/// Where this text begins.
#[track_caller]
fn place(state: &State, text: &str) -> (u16, u16) {
    let again = pressed(&[]);
    assert_eq!(again.pane(), state.pane(), "of the same screen");
    let screen = screen(again, 80, 24);
    let find = |(row, line): (usize, &str)| Some((line.find(text).map(|at| line[..at].chars().count())?, row));
    let (column, row) = screen.lines().enumerate().find_map(find).expect("it is on the screen");
    (u16::try_from(column).expect("a column"), u16::try_from(row).expect("a row"))
}

#[test]
fn a_line_is_selected_and_then_shown() {
    let mut state = pressed(&[]);
    let (column, row) = place(&state, "push to app");
    state.update(press(column, row));
    assert_eq!(state.selected_request(), Some(1));
    assert!(state.modal().is_none());
    state.update(press(column, row));
    assert!(matches!(state.modal(), Some(Modal::Request { request, then: None }) if request.id == host::push().id));
    // Beside it leaves it, within it does nothing.
    state.update(press(40, 12));
    assert!(state.modal().is_some());
    state.update(press(0, 0));
    assert!(state.modal().is_none());
}

#[test]
fn bottles_and_tabs_are_pressed() {
    let mut state = pressed(&[]);
    let (column, row) = place(&state, "tidy-zyxwv");
    state.update(press(column, row));
    assert_eq!((state.pane(), state.selected_bottle()), (Pane::Bottles, Some(2)));
    state.update(press(column, row + 3));
    assert_eq!(state.selected_bottle(), Some(2), "there is no bottle");
    let mut state = pressed(&[]);
    let (column, row) = place(&state, "3 decisions");
    state.update(press(column, row));
    assert_eq!(state.pane(), Pane::Decisions);
    state.update(press(79, row));
    assert_eq!(state.pane(), Pane::Decisions);
}

#[test]
fn the_wheel_scrolls_what_is_beneath_it() {
    let mut state = pressed(&[]);
    let (column, row) = place(&state, "fix-kqzmb");
    state.update(scroll(column, row, true));
    assert_eq!((state.selected_bottle(), state.selected_request()), (Some(2), Some(0)));
    state.update(scroll(column, row, false));
    assert_eq!(state.selected_bottle(), Some(0));
    state.update(key('?'));
    state.update(scroll(40, 12, true));
    assert_eq!(state.scroll(), 3);
    state.update(scroll(40, 12, false));
    assert_eq!(state.scroll(), 0);
}
