//! What the dashboard knows, and what a key makes of it.
//!
//! Invariants: a selection follows its bottle or request, not its line; a question to the person stays to the very
//! request it was asked about, and goes with it.

use crate::{
    action::{Action, Less, Reply, Term},
    event::{Bottle, BottleState, Event, Kind, Request},
    keymap::{Wish, wish},
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    Requests,
    Bottles,
}

#[derive(Debug, Default)]
pub struct State {
    now: u64,
    bottles: Vec<Bottle>,
    requests: Vec<Request>,
    pane: Pane,
    /// By id.
    request: Option<String>,
    /// By name.
    bottle: Option<String>,
    modal: Option<Modal>,
    /// Lines of the modal that are above the screen.
    scroll: u16,
    said: String,
}

/// What lies over the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modal {
    /// One request whole, and the action that `y` would take.
    Request { request: Box<Request>, then: Option<Action> },
}

impl State {
    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn bottles(&self) -> &[Bottle] {
        &self.bottles
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub fn pane(&self) -> Pane {
        self.pane
    }

    pub fn modal(&self) -> Option<&Modal> {
        self.modal.as_ref()
    }

    pub fn scroll(&self) -> u16 {
        self.scroll
    }

    pub fn said(&self) -> &str {
        &self.said
    }

    pub fn selected_request(&self) -> Option<usize> {
        let id = self.request.as_ref()?;
        self.requests.iter().position(|request| request.id == *id)
    }

    pub fn selected_bottle(&self) -> Option<usize> {
        let name = self.bottle.as_ref()?;
        self.bottles.iter().position(|bottle| bottle.name == *name)
    }

    /// Takes an event in; what is to be done comes back.
    pub fn update(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Bottles { now, bottles } => {
                (self.now, self.bottles) = (now, bottles);
                self.seen();
            }
            Event::Requests(requests) => {
                self.requests = requests;
                self.seen();
            }
            Event::Said(said) => self.said = said,
            Event::Key(key) => return wish(key).and_then(|wish| self.wish(wish)),
            _ => {}
        }
        None
    }

    fn seen(&mut self) {
        if self.selected_request().is_none() {
            self.request = self.requests.first().map(|request| request.id.clone());
        }
        if self.selected_bottle().is_none() {
            self.bottle = self.bottles.first().map(|bottle| bottle.name.clone());
        }
        // It was answered elsewhere, or its time is over.
        let gone = |modal: &Modal| {
            let Modal::Request { request, .. } = modal;
            !self.requests.iter().any(|other| other.id == request.id && other.digest == request.digest)
        };
        if self.modal.as_ref().is_some_and(gone) {
            self.modal = None;
            self.said = "that request waits no more".to_owned();
        }
    }

    fn wish(&mut self, wish: Wish) -> Option<Action> {
        match (wish, self.modal.take()) {
            (Wish::Yes, Some(Modal::Request { then, .. })) => return then,
            (Wish::Approve(term), Some(Modal::Request { request, .. })) => self.ask(*request, Some(term)),
            (Wish::Deny, Some(Modal::Request { request, .. })) => self.ask(*request, None),
            (Wish::Back | Wish::Quit | Wish::Show, Some(_)) => {}
            (Wish::Down, Some(Modal::Request { request, then })) => {
                let last = u16::try_from(request.whole.len()).unwrap_or(u16::MAX).saturating_sub(1);
                self.scroll = self.scroll.saturating_add(1).min(last);
                self.modal = Some(Modal::Request { request, then });
            }
            (Wish::Up, Some(modal)) => {
                self.scroll = self.scroll.saturating_sub(1);
                self.modal = Some(modal);
            }
            (_, Some(modal)) => self.modal = Some(modal),
            (Wish::Quit, None) => return Some(Action::Quit),
            (Wish::Up, None) => self.step(false),
            (Wish::Down, None) => self.step(true),
            (Wish::OtherPane, None) => {
                self.pane = if self.pane == Pane::Requests { Pane::Bottles } else { Pane::Requests };
            }
            (Wish::Show, None) => {
                self.scroll = 0;
                self.modal = self.request().map(|request| Modal::Request { request: Box::new(request), then: None });
            }
            (Wish::Approve(term), None) => {
                if let Some(request) = self.request() {
                    self.scroll = 0;
                    self.ask(request, Some(term));
                }
            }
            (Wish::Deny, None) => {
                if let Some(request) = self.request() {
                    self.scroll = 0;
                    self.ask(request, None);
                }
            }
            (Wish::Freeze, None) => {
                let Bottle { name, state, .. } = self.bottles.get(self.selected_bottle()?)?;
                return Some(Action::Freeze { bottle: name.clone(), frozen: *state != BottleState::Frozen });
            }
            (Wish::Yes | Wish::Back, None) => {}
        }
        None
    }

    /// Shows the request whole before `y` answers it; no term = no.
    fn ask(&mut self, request: Request, term: Option<Term>) {
        if term.is_some() && request.kind == Kind::Question {
            self.said = format!("a question takes words: bot-bottle approve {} --answer TEXT", request.id);
            return;
        }
        let (id, digest) = (request.id.clone(), request.digest.clone());
        let reply = match term {
            Some(term) => Reply::Approve { term, less: Less::default(), answer: None },
            None => Reply::Deny { why: None },
        };
        let then = Action::Answer { id, digest, reply };
        // Who read on in it has read as far as that.
        self.modal = Some(Modal::Request { request: Box::new(request), then: Some(then) });
    }

    fn request(&self) -> Option<Request> {
        self.requests.get(self.selected_request()?).cloned()
    }

    fn step(&mut self, down: bool) {
        let next = |at: Option<usize>, count: usize| match (at, down) {
            (None, _) => 0,
            (Some(at), true) => (at + 1).min(count.saturating_sub(1)),
            (Some(at), false) => at.saturating_sub(1),
        };
        match self.pane {
            Pane::Requests => {
                let at = next(self.selected_request(), self.requests.len());
                self.request = self.requests.get(at).map(|request| request.id.clone());
            }
            Pane::Bottles => {
                let at = next(self.selected_bottle(), self.bottles.len());
                self.bottle = self.bottles.get(at).map(|bottle| bottle.name.clone());
            }
        }
    }
}
