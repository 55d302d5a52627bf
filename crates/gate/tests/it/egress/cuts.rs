//! A value whose halves come in two chunks or two DATA frames, at once or with a pause between: it never arrives whole.

use super::{
    harness::{Gate, LIMIT, Tls, until_closed},
    screening::{SECRET, findings, protected},
    wire,
};
use bottle_spec::event::FindingAction;
use bottle_testkit::{
    TlsUpstream,
    upstream::{Handler, routes::full},
    wait_until,
};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use serde_json::json;
use std::{
    future::pending,
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What of a body has reached an upstream so far.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) data: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) whole: bool,
}

/// An upstream that notes what comes to `/sink`, as it comes.
pub(super) struct Noting {
    pub(super) upstream: TlsUpstream,
    came: Arc<Mutex<Came>>,
}

impl Noting {
    pub(super) fn start(alpn: &[&'static str]) -> Noting {
        let came: Arc<Mutex<Came>> = Arc::default();
        let noted = Arc::clone(&came);
        let handler: Handler = Arc::new(move |asked| {
            let noted = Arc::clone(&noted);
            Box::pin(async move {
                let mut body = asked.unread.expect("a path that reads on its own").into_body();
                while let Some(frame) = body.frame().await {
                    // What breaks off is answered nothing.
                    let Ok(frame) = frame else { return pending().await };
                    match frame.into_data() {
                        Ok(data) => lock(&noted).data.extend_from_slice(&data),
                        Err(frame) => lock(&noted).trailers = frame.into_trailers().ok(),
                    }
                }
                lock(&noted).whole = true;
                Response::new(full("all of it"))
            })
        });
        Noting { upstream: TlsUpstream::options(&["api.test"]).alpn(alpn).handler(handler).start(), came }
    }

    pub(super) fn came(&self) -> MutexGuard<'_, Came> {
        lock(&self.came)
    }

    /// Forgets what came.
    fn take(&self) -> Came {
        std::mem::take(&mut *self.came())
    }
}

fn lock(came: &Mutex<Came>) -> MutexGuard<'_, Came> {
    came.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an agent sends a body in pieces.
#[derive(Debug, Clone, Copy)]
enum Agent {
    Chunks,
    Frames,
}

impl Agent {
    fn begin(self, gate: &Gate) -> Tls {
        match self {
            Agent::Frames => wire::h2(gate, &wire::post("/sink")),
            Agent::Chunks => {
                let mut tls = gate.tunnel("api.test:443", "api.test").unwrap();
                let head = "POST /sink HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n";
                tls.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
                tls
            }
        }
    }

    fn piece(self, text: &str, last: bool) -> Vec<u8> {
        match self {
            Agent::Frames => wire::frame(wire::DATA, if last { wire::END_STREAM } else { 0 }, text.as_bytes()),
            Agent::Chunks => {
                format!("{:x}\r\n{text}\r\n{}", text.len(), if last { "0\r\n\r\n" } else { "" }).into_bytes()
            }
        }
    }

    fn answer(self, tls: &mut Tls) -> String {
        match self {
            Agent::Frames => wire::answered(tls).0,
            Agent::Chunks => until_closed(tls),
        }
    }

    /// Sends two pieces; the second when the first has arrived, where it is to come late.
    fn send(self, gate: &Gate, noting: &Noting, pieces: [&str; 2], late: bool) -> String {
        let mut tls = self.begin(gate);
        let (first, second) = (self.piece(pieces[0], false), self.piece(pieces[1], true));
        if late {
            tls.write_all(&first).unwrap();
            wait_until("the first piece", LIMIT, || noting.came().data == pieces[0].as_bytes());
            tls.write_all(&second).unwrap();
        } else {
            tls.write_all(&[first, second].concat()).unwrap();
        }
        self.answer(&mut tls)
    }
}

#[test]
fn a_secret_cut_in_two_never_arrives_whole() {
    let (start, end) = SECRET.split_at(10);
    let (first, second) = (format!("say {start}"), format!("{end} now"));
    for alpn in [["h2"], ["http/1.1"]] {
        let noting = Noting::start(&alpn);
        for (agent, late) in
            [(Agent::Chunks, false), (Agent::Chunks, true), (Agent::Frames, false), (Agent::Frames, true)]
        {
            let gate = protected(&noting.upstream, json!({})).start();
            let harmless = agent.send(&gate, &noting, [&first, " or not"], late);
            assert!(harmless.contains("all of it"), "{alpn:?} {agent:?} {late}: {harmless}");
            let came = noting.take();
            assert!(came.whole && came.data == format!("{first} or not").into_bytes(), "{came:?}");

            let answer = agent.send(&gate, &noting, [&first, &second], late);
            assert!(answer.contains("\"finding\""), "{alpn:?} {agent:?} {late}: {answer}");
            assert_eq!(gate.denials(), ["finding"]);
            let found = findings(&gate).pop().unwrap();
            assert_eq!((found.action, found.place.as_str()), (FindingAction::Block, "body"));
            let came = noting.take();
            let expected = if late { first.as_bytes() } else { b"" };
            assert!(!came.whole && came.data == expected, "{alpn:?} {agent:?} {late}: {came:?}");
        }
    }
}
