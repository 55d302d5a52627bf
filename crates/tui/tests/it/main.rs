//! The dashboard by its events: what a recording leads to, and what is on the screen then.

mod host;
mod hostile;
mod keys;
mod mouse;
mod screens;

use bottle_tui::{
    draw::{Colours, draw},
    event::{Event, Key},
    runner::replay,
    state::State,
};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

/// The state after these events, by way of a recording.
#[track_caller]
fn after(events: &[Event]) -> State {
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).expect("an event")).collect();
    replay(lines.join("\n").as_bytes()).expect("a recording")
}

/// After the host's news, these keys.
#[track_caller]
fn pressed(keys: &[Key]) -> State {
    after(&[host::news(), keys.iter().copied().map(Event::Key).collect()].concat())
}

fn key(c: char) -> Event {
    Event::Key(Key::Char(c))
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn drawn(state: &State, width: u16, height: u16, colours: Colours) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, state, colours)).expect("it draws");
    terminal.backend().buffer().clone()
}

/// The screen's text, without the spaces that end its lines.
fn screen(mut state: State, width: u16, height: u16) -> String {
    state.update(Event::Resized { width, height });
    let buffer = drawn(&state, width, height, Colours::Sixteen);
    let line = |row| (0..width).filter_map(|column| buffer.cell((column, row))).map(|cell| cell.symbol()).collect();
    let lines: Vec<String> = (0..height).map(line).collect();
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
