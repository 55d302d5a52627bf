//! A known value that leaves in pieces, one in each request, is stopped before it is whole.

use super::harness::{Gate, head, setup};
use bottle_spec::event::{AuditEvent, AuditRecord};
use bottle_testkit::TlsUpstream;
use serde_json::json;
use std::io::{Read, Write};

const SECRET: &str = "ghx_A1b2C3d4-E5f6G7h8.I9j0K1l2M3n4";

/// Requests, each with a piece in the place of `{}`, over one tunnel; the answers' statuses up to the first that is
/// not 200.
fn statuses(gate: &Gate, host: &str, template: &str, pieces: &[String]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let host = host.replace("{}", piece);
        let mut tls = gate.tunnel(&format!("{host}:443"), &host).unwrap();
        let (target, body) = template.split_once(' ').unwrap_or((template, ""));
        let fill = |text: &str| text.replace("{}", piece).replace("{n}", &index.to_string());
        let (target, body) = (fill(target), fill(body));
        let (method, header) = if body.is_empty() { ("GET", piece.as_str()) } else { ("POST", "none") };
        let header = if template == "/echo" { header } else { "none" };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Note: {header}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tls.write_all(request.as_bytes()).unwrap();
        let head = head(&mut tls);
        statuses.push(head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0));
        if statuses.last() != Some(&200) {
            let mut rest = vec![0; 4096];
            let length = tls.read(&mut rest).unwrap_or(0);
            let rest = String::from_utf8_lossy(&rest[..length]).into_owned();
            assert!(rest.contains("\"place\":\"several requests\""), "{head}{rest}");
            break;
        }
    }
    statuses
}

fn pieces(text: &str, length: usize) -> Vec<String> {
    text.as_bytes().chunks(length).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[test]
fn a_secret_in_pieces_over_several_requests_is_refused_before_it_is_whole() {
    let names: Vec<String> = pieces(&hex(SECRET), 16).iter().map(|label| format!("{label}.cdn.test")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["api.test"]).collect();
    let upstream = TlsUpstream::start(&all);
    let gate = |secret: &str| {
        let routes = json!([{ "host": "api.test" }, { "host": "*.cdn.test" }]);
        let mut setup = setup(&upstream, routes).secret("env:TOKEN", secret);
        for name in &names {
            setup.policy["resolve"][name] = json!(upstream.address().to_string());
        }
        setup.start()
    };
    let cases = [
        ("api.test", "/echo/{n}?i={n}&d={}", 4),
        ("api.test", "/echo/{}", 7),
        ("api.test", "/echo", 5),
        ("api.test", "/echo {}", 3),
        ("api.test", "/echo {\"n\":{n},\"part\":\"{}\"}", 9),
        ("{}.cdn.test", "/echo?n={n}", 16),
    ];
    for (host, template, length) in cases {
        let pieces = if host == "api.test" { pieces(SECRET, length) } else { pieces(&hex(SECRET), length) };
        let stopped = gate(SECRET);
        let statuses_ = statuses(&stopped, host, template, &pieces);
        assert_eq!(statuses_.last(), Some(&403), "{host} {template} {statuses_:?}");
        let log = std::fs::read_to_string(stopped.path("audit")).unwrap();
        let found = log.lines().filter_map(|line| match serde_json::from_str::<AuditRecord>(line).unwrap().event {
            AuditEvent::Finding(finding) => Some((finding.rule, finding.name, finding.shown)),
            _ => None,
        });
        let name = Some("env:TOKEN".to_owned());
        let shown = format!("… ({} bytes)", SECRET.len());
        assert_eq!(found.collect::<Vec<_>>(), [("known-secret".to_owned(), name, shown)], "{template}");
        // The same where it is no secret of this bottle's.
        let passed = statuses(&gate("another-secret-of-this-bottle"), host, template, &pieces);
        assert_eq!(passed, vec![200; pieces.len()], "{host} {template}");
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
