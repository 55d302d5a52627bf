//! What a body is said to be decides how it is read: a value split over its fields is found in each form.

use super::screening::{SECRET, findings, noise, protected};
use base64::{Engine, engine::general_purpose::STANDARD};
use bottle_testkit::TlsUpstream;
use serde_json::json;

/// A name, a content type, and a body in which `@` and `#` stand for the halves of a value. The last says whether the
/// content type alone tells how to read it.
struct Body(&'static str, &'static str, String, bool);

fn part(head: &str, text: &str) -> String {
    format!("--xyz\r\nContent-Disposition: form-data; name=\"f\"{head}\r\n\r\n{text}\r\n")
}

fn multipart(parts: &[String]) -> String {
    // Before the first part anything may stand (RFC 2046, section 5.1.1), and hides what the body is.
    format!("{}\r\n{}--xyz--\r\n", filler(), parts.concat())
}

/// More than is looked at for pieces that make a value with those of other requests.
fn filler() -> String {
    String::from_utf8(noise(9_000)).unwrap()
}

const MULTIPART: &str = "multipart/form-data; boundary=xyz";

fn bodies(halves: [&str; 2]) -> Vec<Body> {
    let [a, b] = halves;
    let coded = |text: &str| part("\r\nContent-Transfer-Encoding: base64", &STANDARD.encode(text));
    let quoted = |text: &str| {
        part(
            "\r\nContent-Transfer-Encoding: quoted-printable",
            &text.replacen('-', "=2D", 1).replacen('e', "=\r\ne", 1),
        )
    };
    let percent = |text: &str| text.replace('-', "%2D");
    let call = json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": "send", "arguments": { "body": a, "subject": b } },
    });
    let name = |text: &str| format!("; filename=\"{text}.txt\"");
    let long_name = |text: &str| format!("; filename*=UTF-8''{}", percent(text));
    vec![
        Body("parts", MULTIPART, multipart(&[part("", a), part("", b)]), true),
        Body("a file's name", MULTIPART, multipart(&[part(&name(&format!("{a}{b}")), "x")]), false),
        Body("a file's name in UTF-8", MULTIPART, multipart(&[part(&long_name(&format!("{a}{b}")), "x")]), false),
        Body("base64 in a part", MULTIPART, multipart(&[coded(&format!("{a}{b}"))]), false),
        Body("quoted-printable in a part", MULTIPART, multipart(&[quoted(&format!("{a}{b}"))]), false),
        Body(
            "a form",
            "application/x-www-form-urlencoded",
            format!("\"x\"={}&a={}&c={}", filler(), percent(a), percent(b)),
            true,
        ),
        Body("XML", "application/xml", format!("\u{feff}<a>{}<b>{a}</b><c>{b}</c></a>", filler()), true),
        Body("SVG", "image/svg+xml", format!("\u{feff}<svg t=\"{}\" a=\"{a}\" b=\"{b}\"/>", filler()), false),
        Body("NDJSON", "application/x-ndjson", format!("{{\"a\":\"{a}\"}}\n{{\"b\":\"{b}\"}}\n"), false),
        Body("events", "text/event-stream", format!("x: {}\ndata: {a}\ndata: {b}\n\n", filler()), true),
        Body("a tool's arguments", "application/json", call.to_string(), false),
    ]
}

#[test]
fn a_secret_is_found_in_every_form_of_a_body() {
    let upstream = TlsUpstream::start(&["api.test"]);
    let gate = protected(&upstream, json!({})).start();
    let send = |content_type: &str, body: &str| {
        let file = gate.path("body");
        std::fs::write(&file, body).unwrap();
        let (content_type, data) = (format!("Content-Type: {content_type}"), format!("@{}", file.display()));
        gate.curl(&["-H", &content_type, "--data-binary", &data, "https://api.test/echo"])
    };
    let (start, end) = SECRET.split_at(14);
    for (Body(name, content_type, body, told), harmless) in
        bodies([start, end]).into_iter().zip(bodies([start, "letters-stable"]))
    {
        let answer = send(content_type, &body);
        assert_eq!(answer.status, 403, "{name}: {body}");
        assert_eq!(answer.reason(), "finding", "{name}");
        assert_eq!(answer.json()["finding"]["rule"], "known-secret", "{name}");
        assert_eq!(findings(&gate).pop().unwrap().place, "body", "{name}");
        assert_eq!(upstream.take_seen(), [], "{name}");
        assert_eq!(send(content_type, &harmless.2).status, 200, "beside {name}");
        assert_eq!(upstream.take_seen().pop().unwrap().body, harmless.2.as_bytes(), "beside {name}");
        // The control: where nothing says what it is, this very body is not seen through.
        if told {
            assert_eq!(send("application/octet-stream", &body).status, 200, "{name} is found by other means");
            assert_eq!(upstream.take_seen().len(), 1);
        }
    }
}
