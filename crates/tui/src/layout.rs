//! Where what is on the screen: a function of its size and of the pane that has the focus, for drawing and for the mouse
//! alike.

use crate::state::Pane;
use ratatui::layout::{Constraint, Layout, Margin, Position, Rect};

/// From here on all four panes are seen at once.
const WIDE: u16 = 120;
const HIGH: u16 = 30;
/// The widest that something over the panes becomes.
const MODAL: u16 = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) tabs: Rect,
    /// Those that are seen.
    pub(crate) panes: Vec<(Pane, Rect)>,
    pub(crate) said: Rect,
    pub(crate) hints: Rect,
}

pub(crate) fn areas(screen: Rect, focus: Pane) -> Areas {
    let line = Constraint::Length(1);
    let [tabs, body, said, hints] = Layout::vertical([line, Constraint::Fill(1), line, line]).areas(screen);
    let split = |area, top| Layout::vertical([Constraint::Percentage(top), Constraint::Fill(1)]).areas(area);
    let panes = if screen.width >= WIDE && screen.height >= HIGH {
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Fill(1)]).areas(body);
        let [bottles, requests] = split(left, 60);
        let [decisions, logs] = split(right, 60);
        vec![(Pane::Bottles, bottles), (Pane::Requests, requests), (Pane::Decisions, decisions), (Pane::Logs, logs)]
    } else {
        match focus {
            Pane::Bottles | Pane::Requests => {
                let [bottles, requests] = split(body, 50);
                vec![(Pane::Bottles, bottles), (Pane::Requests, requests)]
            }
            alone => vec![(alone, body)],
        }
    };
    Areas { tabs, panes, said, hints }
}

impl Areas {
    pub(crate) fn of(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(other, _)| *other == pane).map(|(_, area)| *area)
    }

    pub(crate) fn at(&self, column: u16, row: u16) -> Option<(Pane, Rect)> {
        self.panes.iter().find(|(_, area)| area.contains(Position::new(column, row))).copied()
    }
}

/// Lines of a pane that are its list's: without the frame, and the names of the columns where there are any.
pub(crate) fn list(pane: Pane, area: Rect) -> Rect {
    let inner = area.inner(Margin { horizontal: 1, vertical: 1 });
    let head = u16::from(pane == Pane::Bottles).min(inner.height);
    Rect { y: inner.y + head, height: inner.height - head, ..inner }
}

/// What lies over the panes, with its frame.
pub(crate) fn modal(screen: Rect) -> Rect {
    let inner = screen.inner(Margin { horizontal: 2, vertical: 1 });
    let width = inner.width.min(MODAL);
    Rect { x: inner.x + (inner.width - width) / 2, width, ..inner }
}

/// The tab at this column of their line.
pub(crate) fn tab(column: u16, tabs: &[(Pane, String)]) -> Option<Pane> {
    let mut end = 0;
    for (pane, title) in tabs {
        end += u16::try_from(title.chars().count()).unwrap_or(u16::MAX);
        if column < end {
            return Some(*pane);
        }
    }
    None
}
