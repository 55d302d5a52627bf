//! The loop at the terminal: keys and news in, the screen and actions out, and a recording of it where one is wanted.
//!
//! One thread. It waits for keys, and between them looks at the bottles: often while a person is there or something
//! waits for them, seldom otherwise. An action that takes its time is the operator's to do elsewhere; its outcome is an
//! event like any other.
//!
//! Invariant: the terminal is put back as it was found on every way out, also where a signal ends us; one that went
//! away takes us with it.

use crate::{
    action::Action,
    draw::{Colours, draw},
    event::{Bottle, Event, Look, Request},
    input,
    state::State,
};
use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
        execute,
    },
};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::{self, BufRead, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

/// Between two looks, while a person presses keys or a request waits.
const OFTEN: Duration = Duration::from_millis(300);
/// Otherwise.
const SELDOM: Duration = Duration::from_secs(1);
/// A person who pressed a key so long ago may still be there.
const THERE: Duration = Duration::from_secs(20);
/// How long an outcome may lie before it is seen.
const OUTCOME: Duration = Duration::from_millis(30);
/// What is shown of the time does not change faster, but for what is younger than a minute.
const COARSE: u64 = 10_000;

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
    /// With the log of this bottle, where it has news.
    fn look(&mut self, log_of: Option<&str>) -> Look;

    fn act(&mut self, action: Action) -> Outcome;
}

/// How an action is done.
pub enum Outcome {
    Done(Event),
    /// By somebody who tells when it is.
    Later(Receiver<Event>),
    /// At this terminal, which it has for itself meanwhile.
    Here(Box<dyn FnOnce() -> Event>),
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Done(event) => f.debug_tuple("Done").field(event).finish(),
            Outcome::Later(_) => f.write_str("Later"),
            Outcome::Here(_) => f.write_str("Here"),
        }
    }
}

/// Runs until the person quits.
pub fn run(operator: &mut impl Operator, colours: Colours, record: Option<&mut dyn Write>) -> Result<(), RunError> {
    let ended = Arc::new(AtomicBool::new(false));
    // A terminal that hangs up ends us as the kernel has it: crossterm reads its end over and over and would not come
    // back, and there is nothing to put back any more.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(RunError::Terminal)?;
    }
    let terminal = take().map_err(RunError::Terminal)?;
    let mut turns = Turns {
        terminal,
        colours,
        record,
        state: State::default(),
        looked: None,
        pressed: Instant::now(),
        bottles: Vec::new(),
        now: 0,
        requests: Vec::new(),
        pending: Vec::new(),
    };
    let done = turns.all(operator, &ended);
    give_back();
    done
}

fn take() -> io::Result<DefaultTerminal> {
    let terminal = ratatui::try_init()?;
    execute!(io::stdout(), EnableMouseCapture, EnableBracketedPaste)?;
    Ok(terminal)
}

fn give_back() {
    // A terminal that went away needs nothing more.
    let _ = execute!(io::stdout(), DisableBracketedPaste, DisableMouseCapture);
    ratatui::restore();
}

struct Turns<'a> {
    terminal: DefaultTerminal,
    colours: Colours,
    record: Option<&'a mut dyn Write>,
    state: State,
    looked: Option<Instant>,
    pressed: Instant,
    /// As they were told last.
    bottles: Vec<Bottle>,
    now: u64,
    requests: Vec<Request>,
    pending: Vec<Receiver<Event>>,
}

impl Turns<'_> {
    fn all(&mut self, operator: &mut impl Operator, ended: &AtomicBool) -> Result<(), RunError> {
        self.measure(operator)?;
        while !ended.load(Ordering::Relaxed) {
            let pace = self.pace();
            let mut happened = self.outcomes();
            if self.looked.is_none_or(|at| at.elapsed() >= pace) {
                happened.extend(self.look(operator));
            }
            let wait = self.looked.map_or(Duration::ZERO, |at| pace.saturating_sub(at.elapsed()));
            let wait = if self.pending.is_empty() { wait } else { wait.min(OUTCOME) };
            let wait = if happened.is_empty() { wait } else { Duration::ZERO };
            happened.extend(self.keys(wait)?);
            if happened.is_empty() {
                continue;
            }
            for event in happened {
                if self.take_in(event, operator)? {
                    return Ok(());
                }
            }
            self.draw()?;
        }
        Ok(())
    }

    fn pace(&self) -> Duration {
        let there = self.pressed.elapsed() < THERE || !self.requests.is_empty();
        if there { OFTEN } else { SELDOM }
    }

    /// The screen is as large as it is.
    fn measure(&mut self, operator: &mut impl Operator) -> Result<(), RunError> {
        let size = self.terminal.size().map_err(RunError::Terminal)?;
        self.take_in(Event::Resized { width: size.width, height: size.height }, operator).map(drop)
    }

    fn draw(&mut self) -> Result<(), RunError> {
        let (state, colours) = (&self.state, self.colours);
        self.terminal.draw(|frame| draw(frame, state, colours)).map(drop).map_err(RunError::Terminal)
    }

    /// All keys that are there already, so that what is pasted or scrolled is drawn once.
    fn keys(&mut self, wait: Duration) -> Result<Vec<Event>, RunError> {
        const MOST: usize = 256;
        let mut events = Vec::new();
        let mut wait = wait;
        while events.len() < MOST && self.poll(wait)? {
            let read = event::read().map_err(RunError::Terminal)?;
            self.pressed = Instant::now();
            events.extend(input::event(&read));
            wait = Duration::ZERO;
        }
        Ok(events)
    }

    fn poll(&self, wait: Duration) -> Result<bool, RunError> {
        match event::poll(wait) {
            // A signal came.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            other => other.map_err(RunError::Terminal),
        }
    }

    fn look(&mut self, operator: &mut impl Operator) -> Vec<Event> {
        let Look { now, bottles, requests, decisions, logs } = operator.look(self.state.log_of());
        self.looked = Some(Instant::now());
        let mut events = Vec::new();
        let young = |bottle: &Bottle| bottle.created.is_some_and(|created| now.saturating_sub(created) < 61_000);
        if bottles != self.bottles || now / COARSE != self.now / COARSE || bottles.iter().any(young) {
            (self.now, self.bottles) = (now, bottles.clone());
            events.push(Event::Bottles { now, bottles });
        }
        if requests != self.requests {
            self.requests.clone_from(&requests);
            events.push(Event::Requests(requests));
        }
        if !decisions.is_empty() {
            events.push(Event::Decided(decisions));
        }
        events.extend(logs.map(Event::Logs));
        events
    }

    fn outcomes(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.pending.retain(|outcome| match outcome.try_recv() {
            Ok(event) => {
                events.push(event);
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Disconnected) => false,
        });
        if !events.is_empty() {
            // What it changed is there to be seen.
            self.looked = None;
        }
        events
    }

    /// Whether that was the end.
    fn take_in(&mut self, event: Event, operator: &mut impl Operator) -> Result<bool, RunError> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            if let Some(record) = self.record.as_mut() {
                write(record, &event)?;
            }
            let outcome = match self.state.update(event) {
                Some(Action::Quit) => return Ok(true),
                Some(action) => operator.act(action),
                None => break,
            };
            next = match outcome {
                Outcome::Done(event) => Some(event),
                Outcome::Later(outcome) => {
                    self.pending.push(outcome);
                    None
                }
                Outcome::Here(act) => Some(self.here(act)?),
            };
        }
        Ok(false)
    }

    fn here(&mut self, act: Box<dyn FnOnce() -> Event>) -> Result<Event, RunError> {
        give_back();
        let event = act();
        self.terminal = take().map_err(RunError::Terminal)?;
        self.looked = None;
        let size = self.terminal.size().map_err(RunError::Terminal)?;
        // Its size may be another by now.
        let resized = Event::Resized { width: size.width, height: size.height };
        if let Some(record) = self.record.as_mut() {
            write(record, &resized)?;
        }
        self.state.update(resized);
        Ok(event)
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
