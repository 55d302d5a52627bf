//! Puts together what a body says in parts: fields of JSON and forms, text and attributes of markup, data lines of
//! events, parts of a multipart body. A value split over them stands nowhere in the bytes.
//!
//! Every reader here takes bytes as they come, in any cuts, and gives pieces. None believes the content type alone: a
//! reader starts when the bytes look like its form, and the rest of the text is still read by the others and as it is.
//!
//! Invariant: a reader keeps a few KiB of each text that it joins and no more; a form that is not kept to loses pieces, never bytes of the raw
//! text, which is searched besides.

mod fields;
mod joined;
mod json;
mod lines;
mod markup;

pub(super) use fields::{Fields, fields};
pub(super) use joined::Joined;

use crate::scan::Shape;

/// Takes a joined text that is to be looked at.
pub(super) type Judge<'j> = &'j mut dyn FnMut(&Joined);

/// The readers of one stream.
#[derive(Debug)]
pub(super) struct Parts {
    json: json::Reader,
    form: Option<fields::Reader>,
    markup: Option<markup::Reader>,
    events: Option<lines::Reader>,
    multipart: Option<lines::Reader>,
    /// The first bytes were seen.
    begun: bool,
}

impl Parts {
    pub(super) fn new(shape: &Shape) -> Parts {
        let mut parts = Parts {
            json: json::Reader::default(),
            form: None,
            markup: None,
            events: None,
            multipart: None,
            begun: false,
        };
        match shape {
            Shape::Form => parts.form = Some(fields::Reader::default()),
            Shape::Xml => parts.markup = Some(markup::Reader::default()),
            Shape::EventStream => parts.events = Some(lines::Reader::events()),
            Shape::Multipart { boundary } => parts.multipart = Some(lines::Reader::multipart(boundary)),
            Shape::Raw | Shape::Json | Shape::Text | Shape::WebSocketMessages => {}
        }
        parts
    }

    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8], judge: Judge<'_>) {
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            self.guess(bytes);
        }
        self.json.feed(bytes, judge);
        if let Some(reader) = &mut self.form {
            reader.feed(bytes, judge);
        }
        if let Some(reader) = &mut self.markup {
            reader.feed(bytes, judge);
        }
        for reader in self.events.iter_mut().chain(&mut self.multipart) {
            reader.feed(bytes, judge);
        }
    }

    /// A border: what is unfinished is looked at as far as it is there.
    pub(super) fn border(&mut self, judge: Judge<'_>) {
        self.json.border(judge);
        if let Some(reader) = &mut self.form {
            reader.border(judge);
        }
        if let Some(reader) = &mut self.markup {
            reader.border(judge);
        }
        for reader in self.events.iter_mut().chain(&mut self.multipart) {
            reader.border(judge);
        }
    }

    /// Looks at what was put together.
    pub(super) fn judge(&mut self, judge: Judge<'_>) {
        self.json.fields.judge(judge);
        if let Some(reader) = &mut self.form {
            reader.fields.judge(judge);
        }
        if let Some(reader) = &mut self.markup {
            reader.judge(judge);
        }
        for reader in self.events.iter_mut().chain(&mut self.multipart) {
            reader.joined.judge(judge);
        }
    }

    /// What the beginning looks like, besides what it is said to be.
    fn guess(&mut self, bytes: &[u8]) {
        let head = bytes.get(..bytes.len().min(512)).unwrap_or_default().trim_ascii_start();
        let line = head.split(|it| *it == b'\n').next().unwrap_or_default().trim_ascii_end();
        let word = head.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        if self.form.is_none() && word.contains(&b'=') && !word.contains(&b'"') && !word.contains(&b'<') {
            self.form = Some(fields::Reader::default());
        }
        if self.markup.is_none() && head.starts_with(b"<") {
            self.markup = Some(markup::Reader::default());
        }
        let fields = [&b"data:"[..], b"event:", b"id:", b"retry:", b":"];
        if self.events.is_none() && fields.iter().any(|it| head.starts_with(it)) {
            self.events = Some(lines::Reader::events());
        }
        if self.multipart.is_none()
            && let Some(boundary) = line.strip_prefix(b"--").filter(|it| !it.is_empty())
        {
            self.multipart = Some(lines::Reader::multipart(boundary));
        }
    }
}
