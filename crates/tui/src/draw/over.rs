//! What lies over the panes: a page, the lines that are written in, and what the keys do, in its frame.

use super::{BOLD, Colours, DIM, REVERSED, ink};
use crate::{
    action::{Less, Reply, Term},
    field::Field,
    layout,
    page::{self, Tone},
    state::{About, Modal, State},
};
use bottle_spec::escape::Escaped;
use ratatui::{
    Frame,
    layout::{Margin, Rect},
    style::Color,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

pub(super) fn draw(frame: &mut Frame<'_>, modal: &Modal, state: &State, colours: Colours) {
    let area = layout::modal(state.screen());
    let (width, height) = page::room(area, modal.inputs());
    let page = page::page(modal, state.now(), width);
    let below = page.len().saturating_sub(state.scroll() + height);
    let lines = page.iter().skip(state.scroll()).take(height).map(|line| styled(line, colours));
    let mut block = Block::bordered().title(format!(" {} ", title(modal)));
    if let Some(question) = question(modal) {
        block = block.title_bottom(Line::styled(format!(" {question} "), BOLD));
    }
    if below > 0 {
        block = block.title_bottom(Line::styled(format!(" {below} lines more "), DIM).right_aligned());
    }
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    let inner = area.inner(Margin { horizontal: 1, vertical: 1 });
    let inputs = modal.inputs().min(inner.height);
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), Rect { height: inner.height - inputs, ..inner });
    let input = Rect { y: inner.y + inner.height - inputs, height: inputs, ..inner };
    frame.render_widget(Paragraph::new(written(modal, width)), input);
}

fn title(modal: &Modal) -> String {
    match modal {
        Modal::Request { request, .. } => request.id.clone(),
        Modal::Narrow { request, .. } => format!("less of {}", request.id),
        Modal::Words { request, about: About::Denial, .. } => format!("deny {}", request.id),
        Modal::Words { request, .. } | Modal::Choose { request, .. } => format!("answer {}", request.id),
        Modal::Agents { .. } => "start which agent?".to_owned(),
        Modal::Preflight { agent, .. } => format!("start {}", Escaped(agent)),
        Modal::Sure { .. } => "sure?".to_owned(),
        Modal::Text { title, .. } => Escaped(title).to_string(),
        Modal::Help => "keys".to_owned(),
    }
}

/// What `y` or enter does.
fn question(modal: &Modal) -> Option<String> {
    Some(match modal {
        Modal::Request { then: Some(reply), .. } => approval(reply),
        Modal::Preflight { .. } => "start this bottle? y/n".to_owned(),
        Modal::Sure { .. } => "y/n".to_owned(),
        Modal::Words { about: About::Denial, .. } => "enter denies, with this word to the agent".to_owned(),
        Modal::Words { .. } | Modal::Choose { .. } => "enter answers".to_owned(),
        Modal::Narrow { .. } => "enter shows what is left of it".to_owned(),
        Modal::Agents { .. } => "enter shows what it would do".to_owned(),
        Modal::Request { .. } | Modal::Text { .. } | Modal::Help => return None,
    })
}

fn approval(reply: &Reply) -> String {
    let Reply::Approve { term, less, .. } = reply else { return "deny this? y/n".to_owned() };
    let Less { methods, paths, refs } = less;
    let parts = [methods, paths, refs].into_iter().flatten().map(|words| Escaped(&words.join(" ")).to_string());
    let parts: Vec<String> = parts.collect();
    let what = if parts.is_empty() { "this".to_owned() } else { format!("only {}", parts.join(" on ")) };
    match term {
        Term::AsAsked if parts.is_empty() => "approve this, as it stands here? y/n".to_owned(),
        Term::AsAsked => format!("approve {what}? y/n"),
        Term::Once => format!("approve {what} for one request? y/n"),
        Term::Minutes(10) => format!("approve {what} for ten minutes? y/n"),
        Term::Minutes(minutes) => format!("approve {what} for {minutes} minutes? y/n"),
        Term::Bottle => format!("approve {what} for as long as the bottle runs? y/n"),
    }
}

fn styled(line: &page::Line, colours: Colours) -> Line<'static> {
    let text = line.text.clone();
    match line.tone {
        Tone::Plain => Line::raw(text),
        Tone::Strong => Line::styled(text, BOLD),
        Tone::Risk => Line::styled(text, colours.of(Color::Yellow)),
        Tone::Selected => Line::styled(text, REVERSED),
        Tone::Diff(kind, language) => ink::line(&text, kind, language, colours),
    }
}

/// The lines that are written in.
fn written(modal: &Modal, width: usize) -> Vec<Line<'static>> {
    let rule = Line::styled("─".repeat(width), DIM);
    match modal {
        Modal::Words { field, about, .. } => {
            let hint = match about {
                About::Denial => "what should the agent do instead? may be left empty",
                About::Answer => "your answer",
            };
            vec![rule, Line::styled(hint, DIM), line("> ", field, true, width)]
        }
        Modal::Narrow { form, .. } => {
            let fields = form.fields().map(|(name, field, focus)| line(&format!("{name:<8} "), field, focus, width));
            [rule, Line::styled(form.hint(), DIM)].into_iter().chain(fields).collect()
        }
        _ => Vec::new(),
    }
}

/// A field with its cursor, which stays in sight.
fn line(label: &str, field: &Field, focus: bool, width: usize) -> Line<'static> {
    let (before, behind) = field.parts();
    let room = width.saturating_sub(label.chars().count() + 1);
    let before = Escaped(&before).to_string();
    let skipped = before.chars().count().saturating_sub(room);
    let before: String = before.chars().skip(skipped).collect();
    let behind = Escaped(&behind).to_string();
    let mut rest = behind.chars();
    let under = if focus { rest.next().unwrap_or(' ').to_string() } else { String::new() };
    Line::from(vec![
        Span::styled(label.to_owned(), if focus { BOLD } else { DIM }),
        Span::raw(before),
        Span::styled(under, REVERSED),
        Span::raw(rest.collect::<String>()),
    ])
}
