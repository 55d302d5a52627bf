//! The state as a screen.
//!
//! Invariant: every text that is not ours is escaped here, whoever escaped it before.

use crate::{
    action::{Action, Reply, Term},
    event::{Bottle, Request},
    keymap::HELP,
    state::{Modal, Pane, State},
};
use bottle_spec::escape::Escaped;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style, Stylize as _},
    text::Line,
    widgets::{Block, Clear, List, ListItem, ListState, Paragraph, Wrap},
};

pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let [bottles, requests, said, help] = Layout::vertical([
        Constraint::Percentage(40),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let lines: Vec<String> = state.bottles().iter().map(|it| bottle(it, state.now())).collect();
    pane(frame, bottles, " bottles ", lines, state.selected_bottle(), state.pane() == Pane::Bottles);
    let lines: Vec<String> = state.requests().iter().map(request).collect();
    let title = format!(" requests: {} ", lines.len());
    pane(frame, requests, &title, lines, state.selected_request(), state.pane() == Pane::Requests);
    frame.render_widget(Line::from(Escaped(state.said()).to_string()), said);
    frame.render_widget(Line::from(HELP).style(Style::new().add_modifier(Modifier::DIM)), help);
    if let Some(Modal::Request { request, then }) = state.modal() {
        modal(frame, request, then.as_ref(), state.scroll());
    }
}

fn pane(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<String>, selected: Option<usize>, focus: bool) {
    let title = Line::from(title.to_owned());
    let block = Block::bordered().title(if focus { title.bold() } else { title });
    let marked = Style::new().add_modifier(if focus { Modifier::REVERSED } else { Modifier::UNDERLINED });
    let list =
        List::new(lines.into_iter().map(ListItem::new)).block(block).highlight_style(marked).highlight_symbol("> ");
    let mut at = ListState::default().with_selected(selected);
    frame.render_stateful_widget(list, area, &mut at);
}

fn bottle(bottle: &Bottle, now: u64) -> String {
    let Bottle { name, agent, state, created, .. } = bottle;
    let age = created.map(|created| age(now.saturating_sub(created))).unwrap_or_default();
    format!("{:<24} {:<9} {:<16} {}", Escaped(name).to_string(), state.name(), Escaped(agent).to_string(), age)
}

fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

fn request(request: &Request) -> String {
    let risks = match request.risks.len() {
        0 => String::new(),
        count => format!("  !{count}"),
    };
    format!("{}  {}  {}{risks}", request.id, Escaped(&request.bottle), Escaped(&request.summary))
}

/// One request whole, over everything else, with what `y` does at its end.
fn modal(frame: &mut Frame<'_>, request: &Request, then: Option<&Action>, scroll: u16) {
    let area = frame.area().inner(ratatui::layout::Margin { horizontal: 2, vertical: 1 });
    let question = match then {
        Some(Action::Answer { reply: Reply::Approve { term, .. }, .. }) => match term {
            Term::Once => " approve this for one request? y/n ",
            Term::Minutes(_) => " approve this for ten minutes? y/n ",
            _ => " approve this, as it stands here? y/n ",
        },
        Some(_) => " deny this? y/n ",
        None => " a approve  o once  m 10 minutes  d deny  esc back ",
    };
    let lines: Vec<Line<'_>> = request
        .whole
        .iter()
        .chain(request.diff.iter().map(|line| &line.text))
        .map(|line| Line::from(Escaped(line).to_string()))
        .collect();
    let title = format!(" {} ", request.id);
    let block = Block::bordered().title(title).title_bottom(Line::from(question).bold());
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((scroll, 0)).block(block), area);
}
