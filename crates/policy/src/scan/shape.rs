//! What a body says it is.

/// The form of a body by its content type. It adds ways to look at the body and takes none away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Shape {
    #[default]
    Raw,
    Json,
    Form,
    Multipart {
        boundary: Vec<u8>,
    },
    Xml,
    Text,
    EventStream,
    WebSocketMessages,
}

/// The longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

impl Shape {
    /// By the value of a `Content-Type` header; what is not understood is [`Shape::Raw`].
    #[must_use]
    pub fn of(content_type: Option<&[u8]>) -> Shape {
        let Some(value) = content_type else { return Shape::Raw };
        let mut parts = value.split(|b| *b == b';');
        let kind = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let suffix = |end: &[u8]| kind.ends_with(end);
        match kind.as_slice() {
            b"application/x-www-form-urlencoded" => Shape::Form,
            b"text/event-stream" => Shape::EventStream,
            b"application/x-ndjson" | b"application/json-seq" => Shape::Json,
            _ if kind.starts_with(b"multipart/") => match parts.find_map(boundary) {
                Some(boundary) => Shape::Multipart { boundary },
                None => Shape::Raw,
            },
            _ if suffix(b"/json") || suffix(b"+json") => Shape::Json,
            _ if suffix(b"/xml") || suffix(b"+xml") || suffix(b"/html") => Shape::Xml,
            _ if kind.starts_with(b"text/") => Shape::Text,
            _ => Shape::Raw,
        }
    }
}

fn boundary(parameter: &[u8]) -> Option<Vec<u8>> {
    let equals = parameter.iter().position(|b| *b == b'=')?;
    let (name, value) = parameter.split_at_checked(equals)?;
    let value = value.get(1..)?.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(value);
    let named = name.trim_ascii().eq_ignore_ascii_case(b"boundary");
    (named && !value.is_empty() && value.len() <= MAX_BOUNDARY).then(|| value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_off_the_content_type() {
        let table: &[(&str, Shape)] = &[
            ("application/json; charset=utf-8", Shape::Json),
            ("application/vnd.api+JSON", Shape::Json),
            ("application/x-www-form-urlencoded", Shape::Form),
            ("image/svg+xml", Shape::Xml),
            ("text/plain", Shape::Text),
            ("text/event-stream", Shape::EventStream),
            ("multipart/form-data; boundary=\"a b\"", Shape::Multipart { boundary: b"a b".to_vec() }),
            ("multipart/form-data; charset=x; Boundary=xyz", Shape::Multipart { boundary: b"xyz".to_vec() }),
            ("multipart/form-data", Shape::Raw),
            ("multipart/form-data; boundary=", Shape::Raw),
            ("application/octet-stream", Shape::Raw),
            ("", Shape::Raw),
        ];
        for (value, shape) in table {
            assert_eq!(Shape::of(Some(value.as_bytes())), *shape, "{value}");
        }
        assert_eq!(Shape::of(None), Shape::Raw);
    }
}
