//! Records as OpenTelemetry logs: the JSON of an OTLP `ExportLogsServiceRequest`.
//!
//! Made outside of the gate, of the log, by whoever is asked to: the gate speaks to no host of its own accord. Numbers
//! of 64 bits are texts, as protobuf's JSON has them.

use super::{number, text};
use serde_json::{Value, json};

/// `SEVERITY_NUMBER_INFO`, `_WARN` and `_ERROR`.
const SEVERITIES: [(u64, &str); 3] = [(9, "INFO"), (13, "WARN"), (17, "ERROR")];

/// One request with these records, all of one bottle.
pub(super) fn request(records: &[Value]) -> Value {
    let bottle = records.first().and_then(|record| text(record, "bottle")).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "resourceLogs": [{
            "resource": { "attributes": [
                attribute("service.name", json!("bot-bottle")),
                attribute("service.version", json!(version)),
                attribute("service.instance.id", json!(bottle)),
            ] },
            "scopeLogs": [{
                "scope": { "name": "bot-bottle.audit", "version": version },
                "logRecords": records.iter().map(log_record).collect::<Vec<_>>(),
            }],
        }],
    })
}

fn log_record(record: &Value) -> Value {
    let kind = text(record, "event").unwrap_or("unknown");
    let (severity, severity_text) = severity(record, kind);
    let time = number(record, "time").unwrap_or_default().saturating_mul(1_000_000).to_string();
    let attributes: Vec<Value> = record
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "time" | "bottle" | "event"))
        .map(|(name, value)| attribute(&format!("bot_bottle.{name}"), value.clone()))
        .collect();
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": severity,
        "severityText": severity_text,
        "eventName": format!("bot_bottle.{kind}"),
        "body": { "stringValue": said(record, kind) },
        "attributes": attributes,
    })
}

fn severity(record: &Value, kind: &str) -> (u64, &'static str) {
    let [info, warn, error] = SEVERITIES;
    match kind {
        "egress" if text(record, "decision") == Some("allow") => info,
        "egress" | "finding" => warn,
        "gap" => error,
        "frozen" if record.get("frozen") == Some(&Value::Bool(true)) => error,
        _ => info,
    }
}

fn said(record: &Value, kind: &str) -> String {
    let fields = ["decision", "action", "rule", "method", "host", "path", "reason"];
    let words: Vec<&str> = fields.iter().filter_map(|field| text(record, field)).collect();
    if words.is_empty() { kind.to_owned() } else { format!("{kind}: {}", words.join(" ")) }
}

/// A `KeyValue`.
fn attribute(key: &str, value: Value) -> Value {
    let value = match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::Number(number) if number.is_u64() || number.is_i64() => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_shape_of_otlp() {
        let record = json!({
            "seq": 7, "time": 1_700_000_000_123_u64, "bottle": "a-bcdef", "event": "egress", "decision": "deny",
            "reason": "no_route", "host": "b.test", "port": 80, "injected": false, "prev": "p", "hash": "h"
        });
        let request = request(&[record.clone(), record]);
        let resource = &request["resourceLogs"][0];
        assert_eq!(resource["resource"]["attributes"][2]["value"]["stringValue"], "a-bcdef");
        let records = resource["scopeLogs"][0]["logRecords"].as_array().unwrap();
        assert_eq!(records.len(), 2);
        let first = &records[0];
        // 64-bit numbers are texts in protobuf's JSON; enums are numbers.
        assert_eq!(first["timeUnixNano"], "1700000000123000000");
        assert_eq!(first["severityNumber"], 13);
        assert_eq!(first["body"]["stringValue"], "egress: deny b.test no_route");
        for attribute in first["attributes"].as_array().unwrap() {
            assert!(attribute["key"].is_string());
            let value = attribute["value"].as_object().unwrap();
            let (kind, value) = value.iter().next().unwrap();
            match kind.as_str() {
                "stringValue" | "intValue" => assert!(value.is_string(), "{attribute}"),
                "boolValue" => assert!(value.is_boolean(), "{attribute}"),
                other => panic!("{other}"),
            }
        }
    }
}
