//! A YAML document as a tree of scalars, lists and tables.

use saphyr_parser::{Event, Parser};

pub(crate) enum Node {
    Scalar(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

/// What has begun and not ended.
enum Open {
    List(Vec<Node>),
    Table { done: Vec<(String, Node)>, key: Option<String> },
}

pub(crate) fn parse(text: &str) -> Result<Node, String> {
    let mut open: Vec<Open> = Vec::new();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| error.to_string())?;
        let ended = match event {
            Event::Scalar(text, ..) => Node::Scalar(text.into_owned()),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Table { done: Vec::new(), key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Node::List(items),
                Some(Open::Table { done, .. }) => Node::Table(done),
                None => return Err("ends what never began".to_owned()),
            },
            Event::Alias(_) => return Err(format!("line {}: no aliases here", span.start.line())),
            _ => continue,
        };
        match (open.last_mut(), ended) {
            (None, root) => return Ok(root),
            (Some(Open::List(items)), item) => items.push(item),
            (Some(Open::Table { key: key @ None, .. }), Node::Scalar(text)) => *key = Some(text),
            (Some(Open::Table { key: None, .. }), _) => {
                return Err(format!("line {}: a key is a word", span.start.line()));
            }
            (Some(Open::Table { done, key }), value) => done.extend(key.take().map(|key| (key, value))),
        }
    }
    Err("the document is empty".to_owned())
}
