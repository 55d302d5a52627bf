//! What lies over the panes, and what a key makes of it.

use super::{Form, State};
use crate::{
    action::{Action, Less, Reply, Term},
    event::{Key, Kind, Request},
    field::Field,
    keymap::Wish,
    layout, page,
};
use ratatui::layout::Rect;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modal {
    /// One request whole, and the answer that `y` would give.
    Request {
        request: Box<Request>,
        then: Option<Reply>,
    },
    /// A yes to less of it.
    Narrow {
        request: Box<Request>,
        form: Form,
    },
    /// An answer in words.
    Words {
        request: Box<Request>,
        field: Field,
        about: About,
    },
    /// One of a question's choices.
    Choose {
        request: Box<Request>,
        at: usize,
    },
    /// The agents that can be started.
    Agents {
        names: Vec<String>,
        at: usize,
    },
    /// What starting an agent would do.
    Preflight {
        agent: String,
        lines: Vec<String>,
    },
    /// Something that takes a yes.
    Sure {
        question: String,
        action: Action,
    },
    /// Something whole.
    Text {
        title: String,
        lines: Vec<String>,
    },
    Help,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Why not; may be left empty.
    Denial,
    Answer,
}

impl Modal {
    /// The request that it is about.
    pub(crate) fn request(&self) -> Option<&Request> {
        match self {
            Modal::Request { request, .. }
            | Modal::Narrow { request, .. }
            | Modal::Words { request, .. }
            | Modal::Choose { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Whether keys are text, or choose from a list.
    pub(crate) fn takes_text(&self) -> bool {
        matches!(self, Modal::Narrow { .. } | Modal::Words { .. } | Modal::Choose { .. } | Modal::Agents { .. })
    }

    /// Lines at its end that are not scrolled.
    pub(crate) fn inputs(&self) -> u16 {
        match self {
            Modal::Narrow { form, .. } => u16::try_from(form.fields().count()).unwrap_or(u16::MAX).saturating_add(2),
            Modal::Words { .. } => 3,
            _ => 0,
        }
    }

    /// So many lines of its page are above the screen, if so many are wished for.
    pub(super) fn scrolled(&self, scroll: usize, now: u64, screen: Rect) -> usize {
        let (width, height) = page::room(layout::modal(screen), self.inputs());
        let lines = page::page(self, now, width);
        let last = lines.len().saturating_sub(height);
        match lines.iter().position(|line| line.tone == page::Tone::Selected) {
            Some(selected) => scroll.min(selected).max((selected + 1).saturating_sub(height)).min(last),
            None => scroll.min(last),
        }
    }
}

impl State {
    pub(super) fn open(&mut self, modal: Modal) {
        self.scroll = 0;
        self.modal = Some(modal);
    }

    pub(super) fn open_agents(&mut self, names: Vec<String>) {
        if names.is_empty() {
            self.said = "there is no agent to start: `bot-bottle init` writes an example".to_owned();
        } else {
            self.open(Modal::Agents { names, at: 0 });
        }
    }

    /// Shows the request whole before `y` answers it.
    pub(super) fn approve(&mut self, request: Request, term: Term) {
        let request = Box::new(request);
        // Who read on in it has read as far as that.
        self.modal = Some(match request.kind {
            Kind::Question if request.choices.is_empty() => {
                Modal::Words { request, field: Field::default(), about: About::Answer }
            }
            Kind::Question => Modal::Choose { request, at: 0 },
            _ if term != Term::AsAsked && request.asks.is_none() => {
                self.said = "this request has no time of its own: it is approved as it stands, or not".to_owned();
                Modal::Request { request, then: None }
            }
            _ => Modal::Request { request, then: Some(Reply::Approve { term, less: Less::default(), answer: None }) },
        });
    }

    pub(super) fn narrow(&mut self, request: Request) {
        match Form::of(&request) {
            Some(form) => self.modal = Some(Modal::Narrow { request: Box::new(request), form }),
            None => self.said = "this request has nothing to narrow".to_owned(),
        }
    }

    pub(super) fn deny(&mut self, request: Request) {
        self.modal = Some(Modal::Words { request: Box::new(request), field: Field::default(), about: About::Denial });
    }

    pub(super) fn in_modal(&mut self, wish: Wish) -> Option<Action> {
        let page = usize::from(layout::modal(self.screen).height.saturating_sub(4));
        match wish {
            Wish::Up => self.scroll = self.scroll.saturating_sub(1),
            Wish::Down => self.scroll += 1,
            Wish::PageUp => self.scroll = self.scroll.saturating_sub(page),
            Wish::PageDown => self.scroll += page,
            Wish::First => self.scroll = 0,
            Wish::Last => self.scroll = usize::MAX / 2,
            Wish::Back | Wish::Quit => self.modal = None,
            Wish::Yes => return self.yes(),
            Wish::Approve(term) => self.about_shown(|state, request| state.approve(request, term)),
            Wish::Narrow => self.about_shown(State::narrow),
            Wish::Deny => self.about_shown(State::deny),
            _ => {}
        }
        None
    }

    fn about_shown(&mut self, then: impl FnOnce(&mut State, Request)) {
        if let Some(request) = self.modal.as_ref().and_then(Modal::request).cloned() {
            then(self, request);
        }
    }

    fn yes(&mut self) -> Option<Action> {
        match self.modal.take()? {
            Modal::Request { request, then: Some(reply) } => Some(answer(&request, reply)),
            Modal::Preflight { agent, .. } => {
                self.said = format!("starting {agent}");
                Some(Action::Start { agent })
            }
            Modal::Sure { action, .. } => Some(action),
            other => {
                self.modal = Some(other);
                None
            }
        }
    }

    pub(super) fn paste(&mut self, text: &str) {
        match &mut self.modal {
            Some(Modal::Words { field, .. }) => field.insert(text),
            Some(Modal::Narrow { form, .. }) => form.insert(text),
            _ => {}
        }
    }

    /// A key where keys are text.
    pub(super) fn write(&mut self, key: Key) -> Option<Action> {
        match key {
            Key::Escape | Key::Control('c') => self.modal = None,
            Key::PageUp => self.scroll = self.scroll.saturating_sub(5),
            Key::PageDown => self.scroll += 5,
            Key::Enter => return self.send(),
            key => match &mut self.modal {
                Some(Modal::Words { field, .. }) => match key {
                    Key::Up => self.scroll = self.scroll.saturating_sub(1),
                    Key::Down => self.scroll += 1,
                    key => field.press(key),
                },
                Some(Modal::Narrow { form, .. }) => form.press(key),
                Some(Modal::Choose { request, at }) => *at = chosen(*at, request.choices.len(), key),
                Some(Modal::Agents { names, at }) => *at = chosen(*at, names.len(), key),
                _ => {}
            },
        }
        None
    }

    fn send(&mut self) -> Option<Action> {
        match self.modal.take()? {
            Modal::Words { request, field, about: About::Denial } => {
                let why = Some(field.text().trim().to_owned()).filter(|text| !text.is_empty());
                Some(answer(&request, Reply::Deny { why }))
            }
            Modal::Words { request, field, about: About::Answer } => {
                let words = field.text().trim().to_owned();
                if words.is_empty() {
                    self.said = "an answer has words; esc leaves it".to_owned();
                    self.modal = Some(Modal::Words { request, field, about: About::Answer });
                    return None;
                }
                Some(answer(&request, yes_with(words)))
            }
            Modal::Choose { request, at } => {
                let choice = request.choices.get(at).cloned()?;
                Some(answer(&request, yes_with(choice)))
            }
            Modal::Agents { names, at } => {
                let agent = names.get(at).cloned()?;
                Some(Action::Preflight { agent })
            }
            Modal::Narrow { request, form } => {
                self.modal = Some(match form.reply() {
                    Ok(reply) => Modal::Request { request, then: Some(reply) },
                    Err(wrong) => {
                        self.said = wrong;
                        Modal::Narrow { request, form }
                    }
                });
                None
            }
            other => {
                self.modal = Some(other);
                None
            }
        }
    }
}

fn yes_with(words: String) -> Reply {
    Reply::Approve { term: Term::AsAsked, less: Less::default(), answer: Some(words) }
}

fn answer(request: &Request, reply: Reply) -> Action {
    Action::Answer { id: request.id.clone(), digest: request.digest.clone(), reply }
}

fn chosen(at: usize, count: usize, key: Key) -> usize {
    match key {
        Key::Down | Key::Tab | Key::Char('j') => (at + 1).min(count.saturating_sub(1)),
        Key::Up | Key::BackTab | Key::Char('k') => at.saturating_sub(1),
        Key::Home => 0,
        Key::End => count.saturating_sub(1),
        Key::Char(c) => {
            let number = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
            number.and_then(|number| number.checked_sub(1)).filter(|wished| *wished < count).unwrap_or(at)
        }
        _ => at,
    }
}
