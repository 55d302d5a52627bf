//! The four panes.

use super::{BOLD, Colours, DIM, REVERSED};
use crate::{
    event::{Bottle, BottleState, Decision, Request, Verdict},
    figures, layout,
    state::{Pane, State},
};
use bottle_spec::escape::Escaped;
use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph},
};

/// Columns that a bottle's other columns take.
const FIXED: usize = 54;

pub(super) fn draw(frame: &mut Frame<'_>, pane: Pane, area: Rect, state: &State, colours: Colours) {
    let focus = state.pane() == pane;
    let list = layout::list(pane, area);
    let (width, height) = (usize::from(list.width), usize::from(list.height));
    let (bottles_top, requests_top) = state.tops();
    let marked = |at: usize, selected: Option<usize>, line: Line<'static>| {
        let style = if focus { REVERSED } else { Style::new().add_modifier(Modifier::UNDERLINED) };
        if selected == Some(at) { line.style(style) } else { line }
    };
    let (title, lines) = match pane {
        Pane::Bottles => {
            let asking = |bottle: &Bottle| state.requests().iter().filter(|it| it.bottle == bottle.name).count();
            let seen = state.bottles().iter().enumerate().skip(bottles_top).take(height);
            let selected = state.selected_bottle();
            let line = |(at, it)| marked(at, selected, bottle(it, asking(it), state.now(), width, colours));
            (" bottles ".to_owned(), seen.map(line).collect())
        }
        Pane::Requests => {
            let seen = state.requests().iter().enumerate().skip(requests_top).take(height);
            let selected = state.selected_request();
            let line = |(at, it)| marked(at, selected, request(it, state.now(), colours));
            (format!(" requests: {} ", state.requests().len()), seen.map(line).collect())
        }
        Pane::Decisions => {
            let shown = state.feed().shown();
            let selected = state.feed().selected(shown.len());
            let seen = shown.iter().enumerate().skip(state.feed().top()).take(height);
            let one = state.feed().bottle().is_some();
            let lines = seen.map(|(at, it)| marked(at, selected, decision(it, one, colours))).collect();
            (decisions_title(state), lines)
        }
        Pane::Logs => {
            let (bottle, lines) = state.log(height);
            let title = if bottle.is_empty() { " log ".to_owned() } else { format!(" log of {} ", Escaped(bottle)) };
            (title, lines.iter().map(|line| Line::from(Escaped(line).to_string())).collect::<Vec<_>>())
        }
    };
    let block = Block::bordered().title(Line::styled(title, if focus { BOLD } else { Style::new() }));
    frame.render_widget(block, area);
    if pane == Pane::Bottles && list.y > area.y {
        let head = Rect { y: list.y.saturating_sub(1), height: 1, ..list };
        frame.render_widget(Line::styled(columns(width), DIM), head);
    }
    frame.render_widget(Paragraph::new(lines), list);
}

fn decisions_title(state: &State) -> String {
    let of = state.feed().bottle().map(|bottle| format!(" of {}", Escaped(bottle))).unwrap_or_default();
    let verdict = match state.feed().verdict() {
        Some(Verdict::Allow) => ", allowed",
        Some(Verdict::Deny) => ", denied",
        Some(Verdict::Note) | None => "",
    };
    format!(" decisions{of}{verdict} ")
}

/// The name's column takes what the others and a little traffic leave.
fn name_width(width: usize) -> usize {
    width.saturating_sub(FIXED).clamp(12, 28)
}

fn columns(width: usize) -> String {
    let name = name_width(width);
    format!(
        "{:<name$} {:<8} {:>4} {:>6} {:>6} {:>7} {:<4} TRAFFIC",
        "NAME", "STATE", "AGE", "CPU", "MEM", "RATE", "ASKS"
    )
}

fn bottle(bottle: &Bottle, asking: usize, now: u64, width: usize, colours: Colours) -> Line<'static> {
    let Bottle { name, state, created, cpu, memory, traffic, .. } = bottle;
    let columns = name_width(width);
    let name = cut(&Escaped(name).to_string(), columns);
    let age = created.map(|created| figures::age(now.saturating_sub(created))).unwrap_or_default();
    let live = state.is_live();
    let figure = |number: Option<String>| number.filter(|_| live).unwrap_or_default();
    let cpu = figure(cpu.map(figures::cpu));
    let memory = figure(memory.map(figures::bytes));
    let rate = figures::rate(traffic);
    let rate = if live && rate > 0 { format!("{}/s", figures::bytes(rate)) } else { String::new() };
    let asks = if asking > 0 { format!("{asking}?") } else { String::new() };
    let style = match state {
        BottleState::Frozen => colours.of(Color::Cyan),
        BottleState::Failed => colours.of(Color::Red),
        BottleState::Stopped => DIM,
        BottleState::Running | BottleState::Creating => Style::new(),
    };
    let bars = figures::bars(traffic, width.saturating_sub(columns + 42));
    Line::from(vec![
        Span::raw(format!("{name:<columns$} ")),
        Span::styled(format!("{:<8}", state.name()), style),
        Span::raw(format!(" {age:>4} {cpu:>6} {memory:>6} {rate:>7} ")),
        Span::styled(format!("{asks:<4} "), colours.of(Color::Yellow)),
        Span::styled(if live { bars } else { String::new() }, colours.of(Color::Blue)),
    ])
}

fn request(request: &Request, now: u64, colours: Colours) -> Line<'static> {
    let left = figures::age(request.expires.saturating_sub(now));
    let risks = match request.risks.len() {
        0 => "  ".to_owned(),
        count => format!("!{count}"),
    };
    Line::from(vec![
        Span::raw(format!("{} {left:>4} ", Escaped(&request.id))),
        Span::styled(risks, colours.of(Color::Yellow).add_modifier(Modifier::BOLD)),
        Span::raw(format!(" {}  {}", Escaped(&request.bottle), Escaped(&request.summary))),
    ])
}

fn decision(decision: &Decision, one_bottle: bool, colours: Colours) -> Line<'static> {
    let style = match decision.verdict {
        Verdict::Allow => Style::new(),
        Verdict::Deny => colours.of(Color::Red),
        Verdict::Note => DIM,
    };
    let bottle = if one_bottle { String::new() } else { format!("{} ", Escaped(&decision.bottle)) };
    let clock = figures::clock(decision.time);
    Line::styled(format!("{clock} {bottle}{}", Escaped(&decision.text)), style)
}

/// So many characters, the last of which tells that there were more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
