//! What the dashboard knows, and what an event makes of it.
//!
//! Invariants: a selection follows its bottle or request, not its line; a question to the person stays to the very
//! request it was asked about, and goes with it; an answer carries the hash of the request that is shown.

mod feed;
mod form;
mod list;
mod modal;

pub use feed::Feed;
pub use form::Form;
pub use modal::{About, Modal};

use crate::{
    action::Action,
    event::{Bottle, BottleState, Event, Key, Logs, Mouse, Request},
    figures,
    keymap::{Wish, place, wish},
    layout::{self, Areas, areas},
};
use list::Selection;
use ratatui::layout::Rect;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pane {
    Bottles,
    #[default]
    Requests,
    Decisions,
    Logs,
}

impl Pane {
    pub(crate) const ALL: [Pane; 4] = [Pane::Bottles, Pane::Requests, Pane::Decisions, Pane::Logs];

    fn beside(self, by: usize) -> Pane {
        let at = Pane::ALL.iter().position(|pane| *pane == self).unwrap_or_default();
        Pane::ALL.get((at + by) % Pane::ALL.len()).copied().unwrap_or_default()
    }
}

#[derive(Debug)]
pub struct State {
    now: u64,
    bottles: Vec<Bottle>,
    requests: Vec<Request>,
    feed: Feed,
    logs: Option<Logs>,
    /// Lines of the log below the screen.
    logs_back: usize,
    pane: Pane,
    bottle: Selection,
    request: Selection,
    modal: Option<Modal>,
    /// Lines of the modal that are above the screen.
    scroll: usize,
    said: String,
    screen: Rect,
}

impl Default for State {
    fn default() -> State {
        State {
            now: 0,
            bottles: Vec::new(),
            requests: Vec::new(),
            feed: Feed::default(),
            logs: None,
            logs_back: 0,
            pane: Pane::default(),
            bottle: Selection::default(),
            request: Selection::default(),
            modal: None,
            scroll: 0,
            said: String::new(),
            screen: Rect::new(0, 0, 80, 24),
        }
    }
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

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    pub fn pane(&self) -> Pane {
        self.pane
    }

    pub fn modal(&self) -> Option<&Modal> {
        self.modal.as_ref()
    }

    pub fn scroll(&self) -> usize {
        self.scroll
    }

    pub fn said(&self) -> &str {
        &self.said
    }

    pub fn selected_request(&self) -> Option<usize> {
        (!self.requests.is_empty()).then(|| self.request.index())
    }

    pub fn selected_bottle(&self) -> Option<usize> {
        (!self.bottles.is_empty()).then(|| self.bottle.index())
    }

    pub(crate) fn screen(&self) -> Rect {
        self.screen
    }

    /// First lines that are seen, of bottles and of requests.
    pub(crate) fn tops(&self) -> (usize, usize) {
        (self.bottle.top(), self.request.top())
    }

    pub(crate) fn areas(&self) -> Areas {
        areas(self.screen, self.pane)
    }

    /// The lines of the log that fit this height, and whose it is.
    pub(crate) fn log(&self, height: usize) -> (&str, &[String]) {
        let Some(Logs { bottle, lines }) = &self.logs else { return ("", &[]) };
        let end = lines.len().saturating_sub(self.logs_back);
        (bottle, lines.get(end.saturating_sub(height)..end).unwrap_or_default())
    }

    /// The bottle whose log is seen.
    pub fn log_of(&self) -> Option<&str> {
        self.areas().of(Pane::Logs)?;
        self.chosen_bottle().map(|bottle| bottle.name.as_str())
    }

    pub(crate) fn tabs(&self) -> Vec<(Pane, String)> {
        let title = |pane: &Pane| {
            let title = match pane {
                Pane::Bottles => format!(" 1 bottles {} ", self.bottles.len()),
                Pane::Requests => format!(" 2 requests {} ", self.requests.len()),
                Pane::Decisions => " 3 decisions ".to_owned(),
                Pane::Logs => " 4 log ".to_owned(),
            };
            (*pane, title)
        };
        Pane::ALL.iter().map(title).collect()
    }

    fn chosen_bottle(&self) -> Option<&Bottle> {
        self.bottles.get(self.bottle.index())
    }

    fn chosen_request(&self) -> Option<&Request> {
        self.requests.get(self.request.index())
    }

    /// Takes an event in; what is to be done comes back.
    pub fn update(&mut self, event: Event) -> Option<Action> {
        let action = match event {
            Event::Bottles { now, bottles } => {
                (self.now, self.bottles) = (now, bottles);
                self.bottle.follow(self.bottles.iter().map(|bottle| bottle.name.as_str()));
                None
            }
            Event::Requests(requests) => {
                self.asked(requests);
                None
            }
            Event::Decided(decisions) => {
                self.feed.take(decisions);
                None
            }
            Event::Logs(logs) => {
                if self.logs.as_ref().is_none_or(|before| before.bottle != logs.bottle) {
                    self.logs_back = 0;
                }
                self.logs = Some(logs);
                None
            }
            Event::Said(said) => {
                self.said = said;
                None
            }
            Event::Resized { width, height } => {
                self.screen = Rect::new(0, 0, width, height);
                None
            }
            Event::Agents(names) if self.modal.is_none() => {
                self.open_agents(names);
                None
            }
            Event::Preflight { agent, lines } if self.modal.is_none() => {
                self.open(Modal::Preflight { agent, lines });
                None
            }
            // Who has gone on to something else is not called back.
            Event::Agents(_) | Event::Preflight { .. } => None,
            Event::Key(key) => self.key(key),
            Event::Pasted(text) => {
                self.paste(&text);
                None
            }
            Event::Mouse(mouse) => self.mouse(mouse),
        };
        self.settle();
        action
    }

    fn asked(&mut self, requests: Vec<Request>) {
        self.requests = requests;
        self.request.follow(self.requests.iter().map(|request| request.id.as_str()));
        // It was answered elsewhere, or its time is over, or it is another one by now.
        let waits = |shown: &Request| {
            self.requests.iter().any(|request| request.id == shown.id && request.digest == shown.digest)
        };
        if self.modal.as_ref().and_then(Modal::request).is_some_and(|shown| !waits(shown)) {
            self.modal = None;
            self.said = "that request waits no more".to_owned();
        }
    }

    /// What is selected stays in sight, and nothing is scrolled beyond its end.
    fn settle(&mut self) {
        let areas = self.areas();
        let height = |pane| areas.of(pane).map_or(1, |area| usize::from(layout::list(pane, area).height.max(1)));
        self.bottle.fit(height(Pane::Bottles), self.bottles.len());
        self.request.fit(height(Pane::Requests), self.requests.len());
        self.feed.fit(height(Pane::Decisions));
        let lines = self.logs.as_ref().map_or(0, |logs| logs.lines.len());
        self.logs_back = self.logs_back.min(lines.saturating_sub(height(Pane::Logs)));
        self.scroll = match &self.modal {
            Some(modal) => modal.scrolled(self.scroll, self.now, self.screen),
            None => 0,
        };
    }

    fn key(&mut self, key: Key) -> Option<Action> {
        if self.modal.as_ref().is_some_and(Modal::takes_text) {
            return self.write(key);
        }
        let wish = wish(key, place(self.pane, self.modal.as_ref()))?;
        self.said.clear();
        if self.modal.is_some() { self.in_modal(wish) } else { self.in_panes(wish) }
    }

    fn in_panes(&mut self, wish: Wish) -> Option<Action> {
        match wish {
            Wish::Up => self.step(-1),
            Wish::Down => self.step(1),
            Wish::PageUp => self.step(-self.page()),
            Wish::PageDown => self.step(self.page()),
            Wish::First => self.step(isize::MIN / 2),
            Wish::Last => self.step(isize::MAX / 2),
            Wish::Next => self.pane = self.pane.beside(1),
            Wish::Previous => self.pane = self.pane.beside(Pane::ALL.len() - 1),
            Wish::Go(pane) => self.pane = pane,
            Wish::Show => self.show(),
            Wish::Approve(term) => self.about_request(|state, request| state.approve(request, term)),
            Wish::Narrow => self.about_request(State::narrow),
            Wish::Deny => self.about_request(State::deny),
            Wish::OneBottle => {
                let name = self.chosen_bottle().map(|bottle| bottle.name.clone());
                self.feed.one_bottle(name.as_deref());
            }
            Wish::OneVerdict => self.feed.one_verdict(),
            Wish::Help => self.open(Modal::Help),
            Wish::Quit => return Some(Action::Quit),
            Wish::Freeze | Wish::Attach | Wish::Stop | Wish::Resume => return self.about_bottle(wish),
            Wish::Start => return Some(Action::Agents),
            Wish::Yes | Wish::Back => {}
        }
        None
    }

    fn about_bottle(&mut self, wish: Wish) -> Option<Action> {
        let Bottle { name, state, .. } = self.chosen_bottle()?.clone();
        match (wish, state.is_live()) {
            (Wish::Freeze, true) => {
                return Some(Action::Freeze { bottle: name, frozen: state != BottleState::Frozen });
            }
            (Wish::Attach, true) => return Some(Action::Attach { bottle: name }),
            (Wish::Stop, true) => self.open(Modal::Sure {
                question: format!("stop {name}? what `start` made is kept, what `run` made goes"),
                action: Action::Stop { bottle: name },
            }),
            (Wish::Resume, _) if state == BottleState::Stopped => self.open(Modal::Sure {
                question: format!("run {name} again, with its home and workspace as they were left?"),
                action: Action::Resume { bottle: name },
            }),
            (Wish::Resume, _) => self.said = format!("{name} is {}: only a stopped one is resumed", state.name()),
            _ => self.said = format!("{name} is {}: nothing of it runs", state.name()),
        }
        None
    }

    fn show(&mut self) {
        match self.pane {
            Pane::Requests => self.about_request(|state, request| {
                state.open(Modal::Request { request: Box::new(request), then: None });
            }),
            Pane::Bottles => {
                if let Some(bottle) = self.chosen_bottle() {
                    let lines = figures::facts(bottle, self.now);
                    self.open(Modal::Text { title: bottle.name.clone(), lines });
                }
            }
            Pane::Decisions => {
                let shown = self.feed.shown();
                if let Some(decision) = self.feed.selected(shown.len()).and_then(|at| shown.get(at)) {
                    let title = format!("{} {}", decision.bottle, decision.seq);
                    let lines = vec![figures::clock(decision.time), decision.text.clone()];
                    self.open(Modal::Text { title, lines });
                }
            }
            Pane::Logs => {}
        }
    }

    fn about_request(&mut self, then: impl FnOnce(&mut State, Request)) {
        match self.chosen_request().cloned() {
            Some(request) => {
                self.scroll = 0;
                then(self, request);
            }
            None => self.said = "no request waits".to_owned(),
        }
    }

    fn page(&self) -> isize {
        let area = self.areas().of(self.pane).unwrap_or_default();
        isize::try_from(layout::list(self.pane, area).height.max(2) - 1).unwrap_or(1)
    }

    /// Down, where it is more than nothing.
    fn step(&mut self, by: isize) {
        match self.pane {
            Pane::Bottles => {
                let at = self.bottle.index().saturating_add_signed(by);
                self.bottle.select(at, self.bottles.iter().map(|bottle| bottle.name.as_str()));
            }
            Pane::Requests => {
                let at = self.request.index().saturating_add_signed(by);
                self.request.select(at, self.requests.iter().map(|request| request.id.as_str()));
            }
            Pane::Decisions => self.feed.step(-by),
            Pane::Logs => self.logs_back = self.logs_back.saturating_add_signed(-by),
        }
    }

    fn mouse(&mut self, mouse: Mouse) -> Option<Action> {
        let (Mouse::Press { column, row } | Mouse::Scroll { column, row, .. }) = mouse;
        if let Some(modal) = &self.modal {
            if let Mouse::Scroll { down, .. } = mouse {
                let by = if down { 3 } else { -3 };
                self.scroll = self.scroll.saturating_add_signed(by);
            } else if !layout::modal(self.screen).contains((column, row).into()) && !modal.takes_text() {
                self.modal = None;
            }
            return None;
        }
        let areas = self.areas();
        if areas.tabs.contains((column, row).into()) {
            self.pane = layout::tab(column, &self.tabs()).unwrap_or(self.pane);
            return None;
        }
        let (pane, area) = areas.at(column, row)?;
        self.pane = pane;
        match mouse {
            Mouse::Scroll { down, .. } => self.step(if down { 3 } else { -3 }),
            Mouse::Press { .. } => {
                let list = layout::list(pane, area);
                if list.contains((column, row).into()) {
                    self.press(usize::from(row - list.y));
                }
            }
        }
        None
    }

    /// Selects a line of the pane; the line that is selected already is shown whole.
    fn press(&mut self, line: usize) {
        let before = (self.bottle.index(), self.request.index(), self.feed.selected(self.feed.shown().len()));
        let (top, count) = match self.pane {
            Pane::Bottles => (self.bottle.top(), self.bottles.len()),
            Pane::Requests => (self.request.top(), self.requests.len()),
            Pane::Decisions => (self.feed.top(), self.feed.shown().len()),
            Pane::Logs => return,
        };
        let at = top + line;
        if at >= count {
            return;
        }
        match self.pane {
            Pane::Bottles => self.bottle.select(at, self.bottles.iter().map(|bottle| bottle.name.as_str())),
            Pane::Requests => self.request.select(at, self.requests.iter().map(|request| request.id.as_str())),
            Pane::Decisions => self.feed.select(at),
            Pane::Logs => {}
        }
        let same = match self.pane {
            Pane::Bottles => before.0 == at,
            Pane::Requests => before.1 == at,
            Pane::Decisions => before.2 == Some(at),
            Pane::Logs => false,
        };
        if same {
            self.show();
        }
    }
}
