//! Decisions as they come, and which of them are shown.
//!
//! Invariants: no more than [`KEPT`] are held, whatever the bottles do; who looks back in them goes on seeing the same
//! ones when new ones come.

use crate::event::{Decision, Verdict};
use std::collections::VecDeque;

const KEPT: usize = 2000;

#[derive(Debug, Default)]
pub struct Feed {
    all: VecDeque<Decision>,
    bottle: Option<String>,
    verdict: Option<Verdict>,
    /// Decisions behind the selected one; 0 = the newest, whichever it is.
    back: usize,
    /// The first line that is seen.
    top: usize,
}

impl Feed {
    pub(crate) fn take(&mut self, decisions: Vec<Decision>) {
        let shown = decisions.iter().filter(|decision| self.shows(decision)).count();
        if self.back > 0 {
            self.back += shown;
        }
        self.all.extend(decisions);
        let over = self.all.len().saturating_sub(KEPT);
        self.all.drain(..over);
        self.step(0);
    }

    fn shows(&self, decision: &Decision) -> bool {
        self.bottle.as_ref().is_none_or(|bottle| *bottle == decision.bottle)
            && self.verdict.is_none_or(|verdict| verdict == decision.verdict)
    }

    /// Those that are not filtered out, oldest first.
    pub(crate) fn shown(&self) -> Vec<&Decision> {
        self.all.iter().filter(|decision| self.shows(decision)).collect()
    }

    pub(crate) fn bottle(&self) -> Option<&str> {
        self.bottle.as_deref()
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    pub(crate) fn selected(&self, count: usize) -> Option<usize> {
        count.checked_sub(1).map(|last| last.saturating_sub(self.back))
    }

    pub(crate) fn top(&self) -> usize {
        self.top
    }

    /// Of this bottle alone, or of all where it was so before.
    pub(crate) fn one_bottle(&mut self, bottle: Option<&str>) {
        self.bottle = if self.bottle.is_some() { None } else { bottle.map(str::to_owned) };
        self.back = 0;
    }

    pub(crate) fn one_verdict(&mut self) {
        self.verdict = match self.verdict {
            None => Some(Verdict::Deny),
            Some(Verdict::Deny) => Some(Verdict::Allow),
            Some(Verdict::Allow | Verdict::Note) => None,
        };
        self.back = 0;
    }

    /// Towards older ones, where it is more than nothing.
    pub(crate) fn step(&mut self, back: isize) {
        let last = self.shown().len().saturating_sub(1);
        self.back = self.back.saturating_add_signed(back).min(last);
    }

    pub(crate) fn select(&mut self, at: usize) {
        let last = self.shown().len().saturating_sub(1);
        self.back = last.saturating_sub(at);
    }

    pub(crate) fn fit(&mut self, height: usize) {
        let count = self.shown().len();
        let at = self.selected(count).unwrap_or(0);
        let last_top = count.saturating_sub(height);
        self.top =
            if self.back == 0 { last_top } else { self.top.min(at).max((at + 1).saturating_sub(height)).min(last_top) };
    }
}
