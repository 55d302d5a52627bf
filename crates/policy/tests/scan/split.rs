//! A value that stands nowhere as a whole.

use super::{scanner, subjects, through};
use bottle_policy::scan::{Finding, Shape};
use bytes::Bytes;

type Is = fn(&Finding) -> bool;

/// In three parts of about the same length.
fn thirds(value: &str) -> [&str; 3] {
    let (first, rest) = value.split_at(value.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [first, second, third]
}

fn head(host: &str, target: &str, headers: &[(&str, &str)], is: Is) {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let found = scanner().request_head(host, target, headers);
    assert!(found.iter().any(is), "{host} {target}: {found:?}");
}

#[test]
fn over_a_request_head() {
    for (value, is) in subjects() {
        let [a, b, c] = thirds(value);
        head("api.test", &format!("/v1?x={a}&y={b}&z={c}"), &[], is);
        head("api.test", &format!("/v1?{a}=1&{b}=2&{c}=3"), &[], is);
        head("api.test", &format!("/v1?q={a}&q={b}&q={c}#x"), &[], is);
        head("api.test", &format!("/{a}/{b}/{c}"), &[], is);
        head("api.test", &format!("/v1/{a}?more={b}{c}"), &[], is);
        head("api.test", "/", &[("x-a", a), ("x-b", b), ("x-c", c)], is);
        head("api.test", "/", &[("cookie", &format!("a={value}; b=1"))], is);
        head("api.test", &format!("/?next=https%3A%2F%2Fa.test%2F%3Fk%3D{value}"), &[], is);
        head(
            "api.test",
            &format!("/?a={}&b={}", super::hide::percent(a, 2), super::hide::percent(&format!("{b}{c}"), 1)),
            &[],
            is,
        );
    }
}

#[test]
fn over_the_labels_of_a_host() {
    for (value, is) in subjects().into_iter().skip(1) {
        let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
        let [a, b, c] = thirds(&plain);
        head(&format!("{a}.{b}.{c}.evil.test").to_lowercase(), "/", &[], is);
        let spelled = super::hide::base32(value.as_bytes()).to_lowercase();
        let [a, b, c] = thirds(&spelled);
        head(&format!("{a}.{b}.{c}.evil.test"), "/", &[], is);
        let spelled = super::hide::hex(value.as_bytes(), "", "");
        let [a, b, c] = thirds(&spelled);
        head(&format!("{a}.{b}.{c}.evil.test"), "/", &[], is);
    }
    let (token, is) = subjects()[0];
    let [a, b, c] = thirds(token);
    head(&format!("{a}.{b}.{c}.evil.test"), "/", &[], is);
}

/// What is written as a name of a header is in small letters, as HTTP/2 has it.
#[test]
fn over_a_name_and_its_value() {
    for (value, is) in subjects().into_iter().skip(1) {
        let [a, b, c] = thirds(value);
        let plain = |text: &str| text.replace(|it: char| !it.is_ascii_alphanumeric(), "-").to_lowercase();
        head("api.test", "/", &[(&plain(a), &format!("{b}{c}"))], is);
        head("api.test", "/", &[("x-a", "1"), (&plain(a), b), (&plain(c), "1")], is);
        for text in [format!("{a}: {b}{c}\n"), format!("{a}: {b}\n{c}: 1\n")] {
            let (_, found) = through(&Shape::Text, text.as_bytes(), 11);
            assert!(found.iter().any(is), "{text}: {found:?}");
        }
    }
}

fn body(shape: &Shape, text: &str, is: Is) {
    // A wrong content type hides nothing.
    for shape in [shape, &Shape::Raw, &Shape::Text] {
        for size in [1, 13, 100_000] {
            let (_, found) = through(shape, text.as_bytes(), size);
            assert!(found.iter().any(is), "{shape:?} {text}: {found:?}");
        }
    }
}

#[test]
fn over_the_fields_of_a_body() {
    for (value, is) in subjects() {
        let [a, b, c] = thirds(value);
        body(&Shape::Json, &format!(r#"{{"a":"{a}","b":"{b}","c":["{c}"]}}"#), is);
        body(&Shape::Json, &format!(r#"{{"{a}":{{"{b}":{{"{c}":1}}}}}}"#), is);
        body(&Shape::Json, &format!(r#"{{"k1{a}":"x","k":"{value}"}}"#), is);
        body(&Shape::Json, &format!(r#"{{"k1":"{a}","k2":"{b}{c}"}}"#), is);
        body(&Shape::Json, &format!(r#"["{a}",  "{b}" , "{c}"]"#), is);
        body(&Shape::Json, &format!(r#"[{{"t":"x","v":"{a}"}},{{"t":"x","v":"{b}"}},{{"t":"x","v":"{c}"}}]"#), is);
        // Malformed: a quotation mark too few, and data after the end.
        body(&Shape::Json, &format!(r#"{{"a:1,"b":"{a}","c":"{b}","d":"{c}"}} trailing"#), is);
        body(&Shape::Form, &format!("a={a}&b={b}&c={c}"), is);
        body(&Shape::Form, &format!("{a}=1&{b}=2&{c}=3"), is);
        // Malformed: separators without fields, an escape that is none, no end.
        body(&Shape::Form, &format!("x=%zz&&=;a={a}&;b={b}&c={c}&%"), is);
        body(&Shape::Xml, &format!("<svg><text>{a}</text><text>{b}</text><!-- x --><text>{c}</text></svg>"), is);
        body(&Shape::Xml, &format!("<svg a=\"{a}\" b=\"{b}\" c=\"{c}\"/>"), is);
        body(&Shape::Xml, &format!("<svg a='{a}' b='{b}'><g c=\"x\" d='{c}'/></svg>"), is);
        body(&Shape::Xml, &format!("<p>it's <i>{a}</i><i o'clock>{b}</i><i>{c}</i></p>"), is);
        body(&Shape::EventStream, &format!("data: {a}\ndata: {b}\n\nevent: x\ndata: {c}\n\n"), is);
        let events: String = value.chars().fold(String::new(), |all, it| {
            all + &format!("event: delta\ndata: {{\"type\":\"delta\",\"index\":0,\"delta\":{{\"type\":\"text\",\"text\":\"{it}\"}}}}\n\n")
        });
        body(&Shape::EventStream, &events, is);
        let multipart = Shape::of(Some(b"multipart/form-data; boundary=xyz"));
        let part = |name: &str, text: &str| {
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
        };
        body(&multipart, &format!("{}{}{}--xyz--\r\n", part("a", a), part("b", b), part("c", c)), is);
        // Malformed: nothing ends, and lines end with a line feed alone.
        let open = format!("{}{}{}", part("a", a), part("b", b), part("c", c)).replace("\r\n", "\n");
        body(&multipart, open.trim_end(), is);
        body(&multipart, &format!("{}--xyz--\r\n", part(&format!("a\"; filename=\"{value}.txt"), "x")), is);
        let encoded = super::hide::base64(value.as_bytes());
        body(&multipart, &format!("--xyz\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--xyz--"), is);
        let quoted = super::hide::quoted(value);
        body(
            &multipart,
            &format!("--xyz\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{quoted}\r\n--xyz--"),
            is,
        );
    }
}

/// What is encoded first and then split: no part decodes to anything by itself.
#[test]
fn encoded_and_then_over_fields() {
    for (value, is) in subjects() {
        for encoded in [
            super::hide::base64(value.as_bytes()),
            super::hide::base64(value.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_"),
            super::hide::hex(value.as_bytes(), "", ""),
            super::hide::base32(value.as_bytes()),
        ] {
            let [a, b, c] = thirds(&encoded);
            head("api.test", &format!("/v1?x={a}&y={b}&z={c}"), &[], is);
            head("api.test", &format!("/{a}/{b}/{c}"), &[], is);
            head("api.test", "/", &[("x-a", a), ("x-b", b), ("x-c", c)], is);
            head("api.test", "/", &[("cookie", &format!("a={a}; b={b}; c={c}"))], is);
            body(&Shape::Json, &format!(r#"{{"a":"{a}","b":"{b}","c":["{c}"]}}"#), is);
            body(&Shape::Form, &format!("a={a}&b={b}&c={c}"), is);
            body(&Shape::Xml, &format!("<svg><text>{a}</text><text>{b}</text><text>{c}</text></svg>"), is);
            body(&Shape::EventStream, &format!("data: {a}\n\ndata: {b}\n\ndata: {c}\n\n"), is);
            let multipart = Shape::of(Some(b"multipart/form-data; boundary=xyz"));
            let part = |text: &str| format!("--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{text}\r\n");
            body(&multipart, &format!("{}{}{}--xyz--\r\n", part(a), part(b), part(c)), is);
        }
    }
}

#[test]
fn over_messages() {
    for (value, is) in subjects() {
        for form in ["@", "{\"v\":\"@\"}"] {
            let mut stream = scanner().stream(Shape::WebSocketMessages);
            let mut found = Vec::new();
            let parts = thirds(value);
            for (index, part) in parts.iter().enumerate() {
                let message = form.replace('@', part);
                let before = stream.push(Bytes::from(message.clone()), &mut found).len();
                let after = stream.flush(&mut found).len();
                assert_eq!(before + after, message.len(), "what is a message's is not held back");
                assert!(index < 2 || found.iter().any(is), "{form}: {found:?}");
            }
        }
    }
}

#[test]
fn what_stands_in_a_field_is_told_where_it_stands() {
    let (token, is) = subjects()[0];
    for text in [
        format!(r#"{{"a":"{token}","b":"more","c":"{token}"}}"#),
        format!(r#"{{"a":"x","b":"{}","c":"y"}}"#, super::hide::base64(token.as_bytes())),
        format!("a={token}&b=more"),
        format!("<a>{token}</a><b>more</b>"),
    ] {
        let (_, found) = through(&Shape::Raw, text.as_bytes(), 50);
        assert!(found.iter().any(is), "{text}: {found:?}");
        assert!(found.iter().all(|it| it.span.is_some()), "{text}: {found:?}");
    }
}
