//! The loop at the terminal: keys and news in, the screen and actions out, and a recording of it where one is wanted.
//!
//! Invariant: the terminal is put back as it was found on every way out.

use crate::{
    action::Action,
    draw::draw,
    event::{Event, Key, Look},
    state::State,
};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event as Input, KeyCode, KeyEventKind, KeyModifiers},
};
use std::{
    io::{self, BufRead, Write},
    time::{Duration, Instant},
};

/// Between two looks at the bottles.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the terminal cannot be used")]
    Terminal(#[source] io::Error),
    #[error("the recording cannot be written")]
    Record(#[source] io::Error),
    #[error("the recording cannot be read")]
    Replay(#[source] io::Error),
    #[error("line {0} of the recording is no event")]
    NoEvent(usize),
}

/// Where bottles come from, and what an action does.
pub trait Operator {
    fn look(&mut self) -> Look;

    /// What to tell the person.
    fn act(&mut self, action: Action) -> String;
}

/// Runs until the person quits.
pub fn run(operator: &mut impl Operator, record: Option<&mut dyn Write>) -> Result<(), RunError> {
    let mut terminal = ratatui::try_init().map_err(RunError::Terminal)?;
    let ended = turn(&mut terminal, operator, record);
    ratatui::restore();
    ended
}

fn turn(
    terminal: &mut DefaultTerminal,
    operator: &mut impl Operator,
    mut record: Option<&mut dyn Write>,
) -> Result<(), RunError> {
    let mut state = State::default();
    let mut looked: Option<Instant> = None;
    let mut last = Vec::new();
    loop {
        let mut happened = Vec::new();
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            let Look { now, bottles, requests, decisions, logs } = operator.look();
            looked = Some(Instant::now());
            happened.push(Event::Bottles { now, bottles });
            if requests != last {
                last.clone_from(&requests);
                happened.push(Event::Requests(requests));
            }
            if !decisions.is_empty() {
                happened.push(Event::Decided(decisions));
            }
            happened.extend(logs.map(Event::Logs));
        }
        let wait = looked.map_or(Duration::ZERO, |at| LOOK.saturating_sub(at.elapsed()));
        if !happened.is_empty() || event::poll(wait).map_err(RunError::Terminal)? {
            if happened.is_empty() {
                happened.extend(key(&event::read().map_err(RunError::Terminal)?).map(Event::Key));
            }
        } else {
            continue;
        }
        for event in happened {
            if let Some(record) = record.as_mut() {
                write(record, &event)?;
            }
            match state.update(event) {
                Some(Action::Quit) => return Ok(()),
                Some(action) => {
                    let said = Event::Said(operator.act(action));
                    if let Some(record) = record.as_mut() {
                        write(record, &said)?;
                    }
                    state.update(said);
                    looked = None;
                }
                None => {}
            }
        }
        terminal.draw(|frame| draw(frame, &state)).map_err(RunError::Terminal)?;
    }
}

fn write(record: &mut dyn Write, event: &Event) -> Result<(), RunError> {
    let line = serde_json::to_string(event).map_err(|error| RunError::Record(error.into()))?;
    writeln!(record, "{line}").map_err(RunError::Record)
}

/// The state after a recording, which has an event on each line.
pub fn replay(recording: impl BufRead) -> Result<State, RunError> {
    let mut state = State::default();
    for (number, line) in recording.lines().enumerate() {
        let line = line.map_err(RunError::Replay)?;
        let event = serde_json::from_str(&line).map_err(|_| RunError::NoEvent(number + 1))?;
        state.update(event);
    }
    Ok(state)
}

fn key(input: &Input) -> Option<Key> {
    let Input::Key(key) = input else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Char('q'),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Tab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        _ => return None,
    })
}
