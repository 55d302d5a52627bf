//! A selection in a list that changes beneath it.
//!
//! Invariant: it follows its entry by name, not by line; where the entry went, the one that took its place is selected.

#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    name: Option<String>,
    /// Where it was last.
    at: usize,
    /// The first line that is seen.
    top: usize,
}

impl Selection {
    pub(crate) fn index(&self) -> usize {
        self.at
    }

    pub(crate) fn top(&self) -> usize {
        self.top
    }

    /// The list has these names now.
    pub(crate) fn follow<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) {
        let count = names.clone().count();
        let found = self.name.as_deref().and_then(|name| names.clone().position(|other| other == name));
        self.at = found.unwrap_or(self.at).min(count.saturating_sub(1));
        self.name = names.clone().nth(self.at).map(str::to_owned);
    }

    pub(crate) fn select<'a>(&mut self, at: usize, mut names: impl Iterator<Item = &'a str> + Clone) {
        let count = names.clone().count();
        self.at = at.min(count.saturating_sub(1));
        self.name = names.nth(self.at).map(str::to_owned);
    }

    /// Scrolls so that the selected line is seen among so many.
    pub(crate) fn fit(&mut self, height: usize, count: usize) {
        let last_top = count.saturating_sub(height);
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(height)).min(last_top);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_its_name_and_stays_in_sight() {
        let mut selection = Selection::default();
        selection.follow(["a", "b", "c"].into_iter());
        assert_eq!(selection.index(), 0);
        selection.select(1, ["a", "b", "c"].into_iter());
        selection.follow(["x", "a", "b", "c"].into_iter());
        assert_eq!(selection.index(), 2);
        selection.follow(["x", "a", "c"].into_iter());
        assert_eq!(selection.index(), 2, "what took its place");
        selection.follow(std::iter::empty());
        assert_eq!(selection.index(), 0);
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        selection.select(19, names.iter().map(String::as_str));
        selection.fit(5, 20);
        assert_eq!(selection.top(), 15);
        selection.select(17, names.iter().map(String::as_str));
        selection.fit(5, 20);
        assert_eq!(selection.top(), 15, "it is in sight already");
        selection.select(3, names.iter().map(String::as_str));
        selection.fit(5, 20);
        assert_eq!(selection.top(), 3);
        selection.fit(50, 20);
        assert_eq!(selection.top(), 0);
    }
}
