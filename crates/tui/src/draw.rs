//! The state as a screen.
//!
//! Invariants: every text that is not ours is escaped here, whoever escaped it before; nothing is told by a colour
//! alone, and where there are no colours ([`Colours::None`]) none is set.

mod ink;
mod over;
mod panes;

use crate::{
    keymap::{hints, place},
    state::State,
};
use bottle_spec::escape::Escaped;
use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

/// What a terminal is asked to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// The sixteen that every terminal has, in its own shades.
    Sixteen,
    None,
}

impl Colours {
    fn of(self, colour: Color) -> Style {
        match self {
            Colours::Sixteen => Style::new().fg(colour),
            Colours::None => Style::new(),
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

pub fn draw(frame: &mut Frame<'_>, state: &State, colours: Colours) {
    let areas = state.areas();
    tabs(frame, areas.tabs, state);
    for (pane, area) in &areas.panes {
        panes::draw(frame, *pane, *area, state, colours);
    }
    frame.render_widget(Line::styled(Escaped(state.said()).to_string(), BOLD), areas.said);
    let keys = hints(place(state.pane(), state.modal()))
        .into_iter()
        .flat_map(|(key, does)| [Span::styled(key, BOLD), Span::styled(format!(" {does}  "), DIM)]);
    frame.render_widget(Line::from_iter(keys), areas.hints);
    if let Some(modal) = state.modal() {
        over::draw(frame, modal, state, colours);
    }
}

fn tabs(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let tab = |(pane, title)| Span::styled(title, if pane == state.pane() { REVERSED } else { Style::new() });
    frame.render_widget(Line::from_iter(state.tabs().into_iter().map(tab)), area);
    let name = Line::styled("bot-bottle ", DIM).right_aligned();
    if area.width >= 80 {
        frame.render_widget(name, area);
    }
}
