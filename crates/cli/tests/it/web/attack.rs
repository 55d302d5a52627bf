//! What must not get in at the page, and must not come out of it.

use super::{SOON, Served, asking, waiting};
use crate::stage::Stage;
use bottle_testkit::wait_until;
use serde_json::json;
use std::net::TcpStream;

const APPROVE: &str = r#"{"approve":{}}"#;

#[test]
fn without_the_token_there_is_nothing_and_it_works_once() {
    let stage = Stage::new();
    let served = Served::start(&stage.env);
    let host = served.host();
    let get = |target: &str| served.send("GET", target, &[("host", &host)], "");
    for target in ["/", "/page.js", "/style.css", "/news", "/?token=", &format!("/?token={}", "0".repeat(64))] {
        let answer = get(target);
        assert_eq!(answer.status, 401, "{target}: {answer:?}");
        assert!(!answer.body.contains("<script"), "{target}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None, "{target}");
    }
    let entered = served.enter();
    assert_eq!(get(served.token_target()).status, 401, "it was used");
    let again = served.send("GET", "/", &[("host", &host), ("cookie", &entered.cookie)], "");
    assert_eq!(again.status, 200);
    assert!(!again.body.contains(&entered.key), "who has the cookie alone does not get the key");
    for answer in [&again, &get("/"), &get("/nowhere")] {
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let closed = std::net::TcpStream::connect((std::net::Ipv4Addr::new(127, 0, 0, 2), served.port));
    assert!(closed.is_err(), "it listens on 127.0.0.1 alone");
}

#[test]
fn what_another_name_page_or_form_sends_answers_nothing() {
    let stage = Stage::new();
    let running = asking(&stage, "request_egress", &json!({"host": "other.test", "reason": "x"}));
    let id = waiting(&stage.env)["id"].clone();
    let served = Served::start(&stage.env);
    let entered = served.enter();
    let request = entered.news("requests")[0].clone();
    assert_eq!(request["id"], id);
    let body = json!({"id": request["id"], "digest": request["digest"], "reply": {"approve": {}}}).to_string();
    let evil = format!("evil.test:{}", served.port);
    for (otherwise, status) in [
        // A name of an attacker's that leads to this machine.
        ([("host", evil.as_str()), ("origin", &format!("http://{evil}"))], 421),
        ([("origin", "http://evil.test"), ("accept", "*/*")], 403),
        ([("origin", "null"), ("accept", "*/*")], 403),
        ([("origin", ""), ("accept", "*/*")], 403),
        ([("sec-fetch-site", "cross-site"), ("accept", "*/*")], 403),
        ([("x-bot-bottle-key", ""), ("accept", "*/*")], 403),
        ([("x-bot-bottle-key", "0000"), ("accept", "*/*")], 403),
        ([("cookie", ""), ("accept", "*/*")], 401),
        // As a form would send it.
        ([("content-type", "text/plain"), ("x-bot-bottle-key", "")], 403),
        ([("content-type", "application/x-www-form-urlencoded"), ("accept", "*/*")], 415),
    ] {
        let answer = entered.post("/answer", &body, &otherwise);
        assert_eq!(answer.status, status, "{otherwise:?}: {answer:?}");
    }
    assert_eq!(waiting(&stage.env)["id"], id, "it still waits");
    let denied = entered.answer(&request, &json!({"deny": {"why": "use the mirror"}}));
    assert_eq!((denied.status, denied.body.contains("denied")), (200, true), "{denied:?}");
    assert_eq!(running.finish(SOON).success(), "denied use the mirror None\n");
}

#[test]
fn a_stale_or_repeated_answer_is_refused() {
    let stage = Stage::new();
    let running = asking(&stage, "request_egress", &json!({"host": "other.test", "methods": ["GET"], "reason": "x"}));
    waiting(&stage.env);
    let served = Served::start(&stage.env);
    let entered = served.enter();
    let request = entered.news("requests")[0].clone();
    let mut stale = request.clone();
    stale["digest"] = json!("0".repeat(64));
    let yes = json!({"approve": {"term": "once"}});
    for (what, reply, said) in [
        (&stale, yes.clone(), "is not the one that was shown"),
        (&request, json!({"approve": {"less": {"methods": ["DELETE"]}}}), "not among what was asked for"),
        (&request, json!({"approve": {"answer": "red"}}), "only a question takes an answer"),
    ] {
        let answer = entered.answer(what, &reply);
        assert_eq!(answer.status, 409, "{answer:?}");
        assert!(answer.body.contains(said), "{answer:?}");
    }
    let answer = entered.answer(&request, &yes);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(entered.answer(&request, &yes).status, 409, "it was answered");
    assert_eq!(entered.answer(&request, &serde_json::from_str(APPROVE).expect("JSON")).status, 409);
    running.finish(SOON).success();
}

#[test]
fn nothing_of_an_agents_comes_out_raw() {
    let stage = Stage::new();
    let reason = "\u{1b}]0;owned\u{7}</script><img src=x onerror=alert(1)>\u{202e}\u{200b}\nevent: requests\ndata: []";
    let running = asking(&stage, "request_egress", &json!({"host": "other.test", "paths": ["/<b>"], "reason": reason}));
    waiting(&stage.env);
    let served = Served::start(&stage.env);
    let entered = served.enter();
    let request = entered.news("requests")[0].clone();
    let text = request.to_string();
    assert!(text.contains("<img src=x onerror=alert(1)>"), "as text it is harmless: {text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\n']) && text.contains("\\\\u{202e}"), "{text}");
    let freeze = json!({"bottle": "../../etc", "frozen": true}).to_string();
    assert_eq!(entered.post("/freeze", &freeze, &[]).status, 409);
    entered.answer(&request, &json!({"deny": {}}));
    running.finish(SOON).success();
}

#[test]
fn what_is_too_much_is_refused_and_the_page_goes_on() {
    let stage = Stage::new();
    let served = Served::start(&stage.env);
    let entered = served.enter();
    assert_eq!(entered.post("/answer", &"x".repeat(20_000), &[]).status, 413);
    for broken in ["", "{", "[]", r#"{"id":"a","digest":"b","reply":{"approve":{}},"more":1}"#, r#"{"id":1}"#] {
        assert_eq!(entered.post("/answer", broken, &[]).status, 400, "{broken}");
    }
    let long = "x".repeat(100_000);
    let head = served.send("GET", "/", &[("host", &served.host()), ("x", &long)], "");
    assert!([0, 431].contains(&head.status), "{head:?}");
    // Connections that say nothing hold their places for ten seconds at most.
    let idle: Vec<_> = (0..64).filter_map(|_| TcpStream::connect(("127.0.0.1", served.port)).ok()).collect();
    wait_until("a place", SOON, || {
        served.send("GET", "/", &[("host", &served.host()), ("cookie", &entered.cookie)], "").status == 200
    });
    drop(idle);
}
