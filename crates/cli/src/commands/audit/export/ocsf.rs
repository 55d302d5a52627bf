//! Records as events of the Open Cybersecurity Schema Framework, version 1.3.0, with its profile `security_control`.
//!
//! Egress is HTTP Activity (4002), a finding Detection Finding (2004), the gate's own life Application Lifecycle (6002).
//! What has no place there goes whole into `unmapped`.

use super::{number, text};
use serde_json::{Map, Value, json};

const VERSION: &str = "1.3.0";
const OTHER: u64 = 99;

/// The event of one record.
pub(super) fn event(record: &Value) -> Value {
    let kind = text(record, "event").unwrap_or("unknown");
    match kind {
        "egress" => egress(record),
        "egress_ended" => ended(record),
        "finding" => finding(record),
        _ => lifecycle(record, kind),
    }
}

/// What every event has.
fn base(
    record: &Value,
    category: (u64, &str),
    class: (u64, &str),
    activity: (u64, &str),
    severity: u64,
) -> Map<String, Value> {
    let bottle = text(record, "bottle").unwrap_or_default();
    let seq = number(record, "seq").unwrap_or_default();
    let about = number(record, "of").unwrap_or(seq);
    let event = json!({
        "category_uid": category.0,
        "category_name": category.1,
        "class_uid": class.0,
        "class_name": class.1,
        "activity_id": activity.0,
        "activity_name": activity.1,
        "type_uid": class.0 * 100 + activity.0,
        "type_name": format!("{}: {}", class.1, activity.1),
        "severity_id": severity,
        "severity": severity_name(severity),
        "time": number(record, "time").unwrap_or_default(),
        "metadata": {
            "version": VERSION,
            "product": product(),
            "profiles": ["security_control"],
            "log_name": "audit",
            "uid": text(record, "hash"),
            "sequence": seq,
            "correlation_uid": format!("{bottle}:{about}"),
        },
        "unmapped": unmapped(record),
    });
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

fn severity_name(severity: u64) -> &'static str {
    match severity {
        1 => "Informational",
        2 => "Low",
        3 => "Medium",
        4 => "High",
        5 => "Critical",
        _ => "Unknown",
    }
}

fn product() -> Value {
    json!({ "name": "bot-bottle", "vendor_name": "bot-bottle", "version": env!("CARGO_PKG_VERSION") })
}

/// The event's own fields, less those that every record has.
fn unmapped(record: &Value) -> Value {
    let fields = record.as_object().cloned().unwrap_or_default();
    fields.into_iter().filter(|(name, _)| !matches!(name.as_str(), "seq" | "time" | "hash" | "prev")).collect()
}

fn network(record: &Value, activity: (u64, &str), severity: u64) -> Map<String, Value> {
    let mut event = base(record, (4, "Network Activity"), (4002, "HTTP Activity"), activity, severity);
    event.insert("src_endpoint".to_owned(), json!({ "name": text(record, "bottle").unwrap_or_default() }));
    event
}

fn egress(record: &Value) -> Value {
    let method = text(record, "method");
    let denied = text(record, "decision") != Some("allow");
    let mut event = network(record, activity(method), if denied { 3 } else { 1 });
    disposition(&mut event, denied);
    status(&mut event, denied);
    let mut url = Map::new();
    let host = text(record, "host");
    if let Some(host) = host {
        url.insert("hostname".to_owned(), json!(host));
        let mut to = Map::new();
        to.insert("hostname".to_owned(), json!(host));
        if let Some(port) = number(record, "port") {
            to.insert("port".to_owned(), json!(port));
            url.insert("port".to_owned(), json!(port));
        }
        event.insert("dst_endpoint".to_owned(), Value::Object(to));
    }
    url.insert("path".to_owned(), json!(text(record, "path").unwrap_or_default()));
    event.insert(
        "http_request".to_owned(),
        json!({ "uid": text(record, "hash"), "http_method": method.unwrap_or_default(), "url": url }),
    );
    if let Some(status) = number(record, "status") {
        event.insert("http_response".to_owned(), json!({ "code": status }));
    }
    if let Some(reason) = text(record, "reason") {
        event.insert("status_detail".to_owned(), json!(reason));
    }
    Value::Object(event)
}

fn disposition(event: &mut Map<String, Value>, denied: bool) {
    let (id, action, disposition) = if denied { (2, "Denied", "Blocked") } else { (1, "Allowed", "Allowed") };
    event.insert("action_id".to_owned(), json!(id));
    event.insert("action".to_owned(), json!(action));
    event.insert("disposition_id".to_owned(), json!(id));
    event.insert("disposition".to_owned(), json!(disposition));
}

/// Success or failure; of a finding the numbers mean something else.
fn status(event: &mut Map<String, Value>, failed: bool) {
    event.insert("status_id".to_owned(), json!(if failed { 2 } else { 1 }));
}

fn activity(method: Option<&str>) -> (u64, &'static str) {
    match method {
        Some("CONNECT") => (1, "Connect"),
        Some("DELETE") => (2, "Delete"),
        Some("GET") => (3, "Get"),
        Some("HEAD") => (4, "Head"),
        Some("OPTIONS") => (5, "Options"),
        Some("POST") => (6, "Post"),
        Some("PUT") => (7, "Put"),
        Some("TRACE") => (8, "Trace"),
        // PATCH has no number of its own in this version.
        Some("PATCH") => (OTHER, "Patch"),
        Some(_) => (OTHER, "Other"),
        None => (0, "Unknown"),
    }
}

/// The end of a request: `correlation_uid` is that of the event that allowed it.
fn ended(record: &Value) -> Value {
    let mut event = network(record, (OTHER, "End"), 1);
    disposition(&mut event, false);
    status(&mut event, false);
    if let Some(status) = number(record, "status") {
        event.insert("http_response".to_owned(), json!({ "code": status }));
    }
    event.insert("http_request".to_owned(), json!({ "uid": format!("{}", number(record, "of").unwrap_or_default()) }));
    let (sent, received) = (number(record, "sent").unwrap_or_default(), number(record, "received").unwrap_or_default());
    event.insert(
        "traffic".to_owned(),
        json!({ "bytes": sent.saturating_add(received), "bytes_in": received, "bytes_out": sent }),
    );
    event.insert("duration".to_owned(), json!(number(record, "took").unwrap_or_default()));
    Value::Object(event)
}

fn finding(record: &Value) -> Value {
    let action = text(record, "action").unwrap_or_default();
    let mut event = base(record, (2, "Findings"), (2004, "Detection Finding"), (1, "Create"), 4);
    disposition(&mut event, action == "block");
    // New: nobody has looked at it.
    event.insert("status_id".to_owned(), json!(1));
    let rule = text(record, "rule").unwrap_or_default();
    event.insert(
        "finding_info".to_owned(),
        json!({
            "uid": text(record, "hash"),
            "title": format!("{rule} in {}", text(record, "place").unwrap_or("a request")),
            "types": ["Data Leakage"],
            "analytic": { "type_id": 1, "type": "Rule", "name": rule, "uid": rule },
        }),
    );
    let evidence =
        json!({ "dst_endpoint": { "hostname": text(record, "host").unwrap_or("unknown") }, "data": unmapped(record) });
    event.insert("evidences".to_owned(), json!([evidence]));
    event.insert("is_alert".to_owned(), json!(true));
    Value::Object(event)
}

fn lifecycle(record: &Value, kind: &str) -> Value {
    let (activity, severity) = match kind {
        "gate_started" => ((3, "Start"), 1),
        "gate_stopped" => ((4, "Stop"), 1),
        "gap" => ((OTHER, kind), 4),
        "frozen" => ((OTHER, kind), 3),
        _ => ((OTHER, kind), 1),
    };
    let mut event = base(record, (6, "Application Activity"), (6002, "Application Lifecycle"), activity, severity);
    event.insert("app".to_owned(), product());
    let refused = record.get("accepted") == Some(&Value::Bool(false));
    status(&mut event, refused);
    Value::Object(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attributes that the schema requires of every class, and of each, with what it requires at least one of.
    const REQUIRED: [&str; 7] =
        ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];

    fn records() -> Vec<Value> {
        let event = |fields: Value| {
            let mut record = json!({ "seq": 7, "time": 1000, "bottle": "a-bcdef", "prev": "p", "hash": "h" });
            record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            record
        };
        vec![
            event(json!({ "event": "gate_started", "policy": "p" })),
            event(json!({ "event": "policy_reloaded", "policy": "p", "accepted": false })),
            event(
                json!({ "event": "egress", "decision": "allow", "host": "a.test", "port": 443, "method": "GET", "path": "/x", "injected": true }),
            ),
            event(
                json!({ "event": "egress", "decision": "deny", "reason": "request_malformed", "injected": false, "status": 403 }),
            ),
            event(
                json!({ "event": "egress", "decision": "deny", "reason": "no_route", "host": "b.test", "port": 80, "method": "PROPFIND", "path": "/", "injected": false, "status": 403 }),
            ),
            event(json!({ "event": "egress_ended", "of": 3, "status": 200, "sent": 1, "received": 2, "took": 3 })),
            event(
                json!({ "event": "finding", "action": "block", "rule": "github-pat", "place": "body", "shown": "ghp_… (40)", "host": "a.test" }),
            ),
            event(json!({ "event": "frozen", "frozen": true, "by": "canary" })),
            event(json!({ "event": "gap", "lost": 3 })),
            event(json!({ "event": "checkpoint", "key": "k", "signer": "s", "certificate": "c", "signature": "s" })),
            event(json!({ "event": "of_a_later_version", "more": 1 })),
            event(json!({ "event": "gate_stopped" })),
        ]
    }

    #[test]
    fn every_event_has_what_its_class_requires() {
        for record in records() {
            let event = event(&record);
            for name in REQUIRED {
                assert!(event.get(name).is_some_and(|value| !value.is_null()), "{name}: {event}");
            }
            let number = |name: &str| event[name].as_u64().unwrap();
            assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"), "{event}");
            assert_eq!(number("class_uid") / 1000, number("category_uid"), "{event}");
            assert!(number("severity_id") <= 6 && number("time") == 1000, "{event}");
            for name in ["version", "product"] {
                assert!(event["metadata"].get(name).is_some(), "{name}: {event}");
            }
            assert!(event["metadata"]["product"]["vendor_name"].is_string());
            match number("class_uid") {
                4002 => {
                    assert!(event.get("http_request").or(event.get("http_response")).is_some(), "{event}");
                    assert!(event["src_endpoint"]["name"].is_string(), "{event}");
                    assert!([1, 2].contains(&number("action_id")) && [1, 2].contains(&number("disposition_id")));
                }
                2004 => {
                    assert_eq!(number("activity_id"), 1);
                    assert_eq!(number("status_id"), 1, "new, for whoever works through them");
                    assert!(event["finding_info"]["uid"].is_string(), "{event}");
                    assert!(event["finding_info"]["analytic"]["type_id"].is_u64(), "{event}");
                }
                6002 => assert!(event["app"]["name"].is_string(), "{event}"),
                other => panic!("class {other}"),
            }
            assert_eq!(event["unmapped"]["event"], record["event"]);
        }
    }

    #[test]
    fn a_denial_and_an_end_say_what_they_are_about() {
        let records = records();
        let denied = event(&records[4]);
        assert_eq!((&denied["disposition"], &denied["status_detail"]), (&json!("Blocked"), &json!("no_route")));
        assert_eq!(denied["http_request"]["url"]["hostname"], "b.test");
        assert_eq!(denied["activity_id"], 99);
        let ended = event(&records[5]);
        assert_eq!(ended["metadata"]["correlation_uid"], "a-bcdef:3");
        assert_eq!(ended["traffic"], json!({ "bytes": 3, "bytes_in": 2, "bytes_out": 1 }));
    }
}
