//! Rings at the dashboard's terminal when a request comes that was not there before, where `config.yaml` has it so.

use crate::{compose::Context, error::CliError, notify};
use bottle_tui::event::Request;
use std::{
    collections::BTreeSet,
    io::{self, Write as _},
};

pub(super) struct Bell {
    rings: bool,
    /// Of the look before; those of the first are on the screen already.
    known: Option<BTreeSet<String>>,
}

impl Bell {
    pub(super) fn configured(context: &Context) -> Result<Bell, CliError> {
        Ok(Bell { rings: notify::config(context)?.notify.bell, known: None })
    }

    pub(super) fn heed(&mut self, requests: &[Request]) {
        if self.rings && self.is_new(requests) {
            // It moves nothing on the screen.
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(b"\x07").and_then(|()| stdout.flush());
        }
    }

    fn is_new(&mut self, requests: &[Request]) -> bool {
        let now: BTreeSet<String> = requests.iter().map(|request| request.id.clone()).collect();
        let before = self.known.replace(now);
        before.is_some_and(|before| requests.iter().any(|request| !before.contains(&request.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_tui::event::Kind;

    fn request(id: &str) -> Request {
        Request {
            id: id.to_owned(),
            digest: String::new(),
            bottle: String::new(),
            kind: Kind::Egress,
            summary: String::new(),
            risks: Vec::new(),
            whole: Vec::new(),
            diff: Vec::new(),
            made: 0,
            expires: 0,
            asks: None,
            choices: Vec::new(),
        }
    }

    #[test]
    fn what_comes_rings_and_what_was_there_or_goes_does_not() {
        let mut bell = Bell { rings: true, known: None };
        assert!(!bell.is_new(&[request("a")]));
        assert!(bell.is_new(&[request("a"), request("b")]));
        assert!(!bell.is_new(&[request("b")]));
        assert!(bell.is_new(&[request("c")]));
    }
}
