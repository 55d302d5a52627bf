//! The growing end of one bottle's audit log: its decisions as lines, and its traffic.
//!
//! Invariant: what one look reads and parses is bounded, however fast the log grows: then the newest count. A line
//! that is no record is left out (`audit verify` tells of it).

use crate::commands::audit::show;
use bottle_spec::{
    event::{AuditEvent, AuditRecord, DecidedEvent, EgressEvent, FindingAction, FindingEvent, GitEvent, InboundAction},
    slug::Slug,
};
use bottle_tui::event::{Decision, TICK, TICKS, Verdict};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::Path,
};

/// Bytes of a log that one look reads.
const MOST: u64 = 1 << 20;
/// Bytes of the end that the first look reads.
const FIRST: u64 = 64 << 10;
/// JSON has no such bytes within a string: there every quote has a backslash before it.
const ENDED: &[u8] = br#""event":"egress_ended""#;
const CHECKPOINT: &[u8] = br#""event":"checkpoint""#;
const ALLOW: &[u8] = br#""decision":"allow""#;
const DENY: &[u8] = br#""decision":"deny""#;

#[derive(Debug, Default)]
pub(super) struct Tail {
    file: Option<File>,
    at: u64,
    /// The beginning of a line whose end has not come yet.
    held: Vec<u8>,
    /// Bytes by the tick they moved in, oldest first; the last belongs to `tick`.
    traffic: VecDeque<u64>,
    tick: u64,
    allowed: u64,
    denied: u64,
}

/// What of [`bottle_spec::event::EgressEnded`] counts here.
#[derive(Deserialize)]
struct Ended {
    time: u64,
    sent: u64,
    received: u64,
}

impl Tail {
    pub(super) fn has_read(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn allowed(&self) -> u64 {
        self.allowed
    }

    pub(super) fn denied(&self) -> u64 {
        self.denied
    }

    /// Decisions that are new, oldest first: the last `most` of them.
    pub(super) fn read(&mut self, path: &Path, slug: &Slug, most: usize) -> Vec<Decision> {
        let first = self.file.is_none();
        // Where it is gone, or not there yet, it is opened anew by the next look.
        let Ok((bytes, cut)) = self.bytes(path) else { return Vec::new() };
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        if cut && !lines.is_empty() {
            // Begins in the midst of a line.
            lines.remove(0);
        }
        let mut told = VecDeque::new();
        for line in lines {
            if has(line, ENDED) {
                self.moved(line);
            } else if !line.is_empty() && !has(line, CHECKPOINT) {
                self.allowed += u64::from(has(line, ALLOW));
                self.denied += u64::from(has(line, DENY));
                told.push_back(line);
                if told.len() > most {
                    told.pop_front();
                }
            }
        }
        if first {
            // They count from the first look on.
            (self.allowed, self.denied) = (0, 0);
        }
        told.into_iter().filter_map(|line| decision(line, slug)).collect()
    }

    /// Whole lines that are new; whether some before them were passed over.
    fn bytes(&mut self, path: &Path) -> io::Result<(Vec<u8>, bool)> {
        let (mut file, most) = match self.file.take() {
            Some(file) => (file, MOST),
            None => (File::open(path)?, FIRST),
        };
        let length = file.metadata()?.len();
        // A log only grows; its gate may cut an unfinished line off the end.
        let from = self.at.min(length);
        let cut = length - from > most;
        let from = if cut { length - most } else { from };
        if cut || from != self.at {
            self.held.clear();
        }
        let mut bytes = std::mem::take(&mut self.held);
        if length > from {
            file.seek(SeekFrom::Start(from))?;
            Read::by_ref(&mut file).take(length - from).read_to_end(&mut bytes)?;
        }
        self.at = length;
        self.file = Some(file);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.held = bytes.split_off(whole);
        Ok((bytes, cut))
    }

    fn moved(&mut self, line: &[u8]) {
        let Ok(Ended { time, sent, received }) = serde_json::from_slice(line) else { return };
        let tick = time / 1000 / TICK;
        self.advance(tick);
        let back = usize::try_from(self.tick.saturating_sub(tick)).unwrap_or(usize::MAX);
        let at = self.traffic.len().checked_sub(1 + back);
        if let Some(bytes) = at.and_then(|at| self.traffic.get_mut(at)) {
            *bytes = bytes.saturating_add(sent).saturating_add(received);
        }
    }

    fn advance(&mut self, tick: u64) {
        if self.traffic.is_empty() {
            self.tick = tick;
            self.traffic.resize(TICKS, 0);
        }
        let on = usize::try_from(tick.saturating_sub(self.tick)).unwrap_or(usize::MAX).min(TICKS);
        self.traffic.extend(std::iter::repeat_n(0, on));
        self.traffic.drain(..on);
        self.tick = self.tick.max(tick);
    }

    /// Up to now.
    pub(super) fn traffic(&mut self, now: u64) -> Vec<u64> {
        if self.traffic.is_empty() {
            return Vec::new();
        }
        self.advance(now / 1000 / TICK);
        self.traffic.iter().copied().collect()
    }
}

fn has(line: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(line, part).is_some()
}

fn decision(line: &[u8], slug: &Slug) -> Option<Decision> {
    let AuditRecord { seq, time, event, .. } = serde_json::from_slice(line).ok()?;
    Some(Decision { bottle: slug.to_string(), seq, time, verdict: verdict(&event), text: show::what(&event) })
}

fn verdict(event: &AuditEvent) -> Verdict {
    use bottle_spec::event::Decision::{Allow, Deny};
    match event {
        AuditEvent::Egress(EgressEvent { decision, .. })
        | AuditEvent::Git(GitEvent { decision, .. })
        | AuditEvent::Decided(DecidedEvent { decision, .. }) => match decision {
            Allow => Verdict::Allow,
            Deny => Verdict::Deny,
        },
        AuditEvent::Finding(FindingEvent { action: FindingAction::Block, .. }) | AuditEvent::Gap { .. } => {
            Verdict::Deny
        }
        AuditEvent::Inbound(event) if event.action == InboundAction::Block => Verdict::Deny,
        _ => Verdict::Note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write as _};

    fn record(seq: u64, time: u64, event: &str) -> String {
        format!(r#"{{"seq":{seq},"time":{time},"bottle":"a-bcdef",{event},"prev":"","hash":""}}"#) + "\n"
    }

    fn asked(seq: u64, decision: &str, path: &str) -> String {
        let event = format!(r#""event":"egress","decision":"{decision}","host":"up.test","path":{path:?}"#);
        record(seq, 0, &event)
    }

    #[test]
    fn a_log_is_read_as_it_grows_and_traffic_counts_when_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let slug: Slug = "a-bcdef".parse().unwrap();
        let mut tail = Tail::default();
        assert_eq!(tail.read(&path, &slug, 10), []);
        fs::write(&path, asked(0, "deny", "/old")).unwrap();
        assert_eq!(tail.read(&path, &slug, 10).len(), 1);
        assert_eq!((tail.allowed(), tail.denied()), (0, 0));
        let mut log = File::options().append(true).open(&path).unwrap();
        // A path that looks like another event is part of a string.
        let text = asked(1, "allow", r#"/","event":"egress_ended"#) + &asked(2, "deny", "/b");
        let (head, rest) = text.split_at(text.len() - 9);
        log.write_all(head.as_bytes()).unwrap();
        let seen = tail.read(&path, &slug, 10);
        assert_eq!(seen.iter().map(|it| (it.seq, it.verdict)).collect::<Vec<_>>(), [(1, Verdict::Allow)]);
        let ended = |time| record(3, time, r#""event":"egress_ended","of":1,"sent":2,"received":5,"took":1"#);
        let after = [rest, &ended(10_000), "no record\n", &ended(9_999), &ended(3_000)].concat();
        log.write_all(after.as_bytes()).unwrap();
        assert_eq!(tail.read(&path, &slug, 10).iter().map(|it| it.seq).collect::<Vec<_>>(), [2]);
        assert_eq!((tail.allowed(), tail.denied()), (1, 1));
        let traffic = tail.traffic(12_500);
        assert_eq!(traffic.len(), TICKS);
        assert_eq!(traffic[TICKS - 6..], [7, 0, 0, 7, 7, 0]);
        assert!(tail.traffic(10_000_000).iter().all(|bytes| *bytes == 0));
    }

    #[test]
    fn of_a_flood_the_newest_are_told_and_all_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let slug: Slug = "a-bcdef".parse().unwrap();
        fs::write(&path, asked(0, "deny", "/")).unwrap();
        let mut tail = Tail::default();
        tail.read(&path, &slug, 3);
        let flood: String = (1..1000).map(|seq| asked(seq, "deny", "/")).collect();
        File::options().append(true).open(&path).unwrap().write_all(flood.as_bytes()).unwrap();
        let seen = tail.read(&path, &slug, 3);
        assert_eq!(seen.iter().map(|it| it.seq).collect::<Vec<_>>(), [997, 998, 999]);
        assert_eq!(tail.denied(), 999);
    }
}
