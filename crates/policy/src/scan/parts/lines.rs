//! Forms made of lines: the data lines of an event stream, and the parts of a multipart body without their headers.

use crate::scan::{
    MAX_MATCH,
    parts::{Joined, Judge},
};

#[derive(Debug)]
pub(in crate::scan) struct Reader {
    pub(super) joined: Joined,
    line: Vec<u8>,
    /// The line's beginning was given on.
    long: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Events,
    Multipart { boundary: Vec<u8>, headers: bool },
}

impl Reader {
    pub(super) fn events() -> Reader {
        Reader { joined: Joined::default(), line: Vec::new(), long: false, kind: Kind::Events }
    }

    pub(super) fn multipart(boundary: &[u8]) -> Reader {
        let boundary = boundary.get(..boundary.len().min(70)).unwrap_or_default().to_vec();
        let kind = Kind::Multipart { boundary, headers: false };
        Reader { joined: Joined::default(), line: Vec::new(), long: false, kind }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], judge: Judge<'_>) {
        for part in bytes.split_inclusive(|it| *it == b'\n') {
            for part in part.chunks(MAX_MATCH) {
                self.line.extend_from_slice(part);
                if self.line.len() > MAX_MATCH {
                    self.border(judge);
                }
            }
            if part.ends_with(b"\n") {
                self.close(judge);
                self.long = false;
            }
        }
    }

    /// As much as there is of the line; what follows belongs to it.
    pub(super) fn border(&mut self, judge: Judge<'_>) {
        if !self.line.is_empty() {
            self.close(judge);
            self.long = true;
        }
    }

    fn close(&mut self, judge: Judge<'_>) {
        let line = self.line.trim_ascii_end();
        match &mut self.kind {
            Kind::Events => {
                let data = if self.long { Some(line) } else { line.strip_prefix(b"data:") };
                if let Some(data) = data {
                    self.joined.push(data.strip_prefix(b" ").unwrap_or(data), judge);
                }
            }
            Kind::Multipart { boundary, headers } => {
                let border = line.strip_prefix(b"--").is_some_and(|it| it.starts_with(boundary));
                if border && !self.long {
                    *headers = true;
                } else if *headers {
                    *headers = !line.is_empty();
                } else {
                    self.joined.push(line, judge);
                }
            }
        }
        self.line.clear();
    }
}
