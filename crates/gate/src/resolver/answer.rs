//! What the resolver door says: bytes in, bytes out.
//!
//! Invariant: an answer depends on the question and on the table of names alone. Nothing is looked up, and a name that
//! no route allows is answered like one that is: what a bottle asks here tells nobody anything, and what it may reach
//! is decided when it connects. Any input is answered or dropped; none panics.

use crate::{limits::MAX_DNS_MESSAGE, synthetic::Names};
use bottle_spec::host::HostName;
use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Seconds. Short, so that a forgotten address is not held for long; long enough to spare a burst its questions.
const TTL: u32 = 30;
const HEADER: usize = 12;
const LOCALHOST: &str = "localhost";
/// Asked by Firefox; that it does not exist keeps it from DNS over HTTPS, which no route would let out.
const DOH_CANARY: &str = "use-application-dns.net";

/// The answer to one message. `None` = drop it: too short to have an id, too long, or itself an answer (answering one
/// could start a loop).
pub fn answer(message: &[u8], names: &Names) -> Option<Vec<u8>> {
    let [id_high, id_low, flags, ..] = *message.get(..HEADER)? else {
        return None;
    };
    if message.len() > MAX_DNS_MESSAGE || flags & 0x80 != 0 {
        return None;
    }
    let reply = match Message::from_vec(message) {
        Ok(query) => reply(&query, names),
        Err(_) => {
            let id = u16::from_be_bytes([id_high, id_low]);
            Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
        }
    };
    reply.to_vec().ok()
}

fn reply(query: &Message, names: &Names) -> Message {
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&query.metadata);
    reply.metadata.recursion_available = true;
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(MAX_DNS_MESSAGE).unwrap_or(512));
        reply.set_edns(edns);
        if asked.version() > 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            return reply;
        }
    }
    if query.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return reply;
    }
    let [question] = query.queries.as_slice() else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return reply;
    };
    reply.add_query(question.clone());
    match resolve(question, names) {
        Ok(Some(data)) => {
            reply.add_answer(Record::from_rdata(question.name.clone(), TTL, data));
        }
        Ok(None) => {}
        Err(code) => reply.metadata.response_code = code,
    }
    reply
}

/// The data for one question; `Ok(None)` = the name exists and has no such record.
fn resolve(question: &Query, names: &Names) -> Result<Option<RData>, ResponseCode> {
    use RecordType::{A, AAAA, ANY, AXFR, IXFR, PTR};
    if question.query_class != DNSClass::IN || matches!(question.query_type, ANY | AXFR | IXFR) {
        return Err(ResponseCode::Refused);
    }
    if question.query_type == PTR {
        return reverse(&question.name, names).map(Some);
    }
    let name = host_name(&question.name).ok_or(ResponseCode::NXDomain)?;
    match question.query_type {
        A if is_localhost(&name) => Ok(Some(RData::A(Ipv4Addr::LOCALHOST.into()))),
        AAAA if is_localhost(&name) => Ok(Some(RData::AAAA(Ipv6Addr::LOCALHOST.into()))),
        _ if is_localhost(&name) => Ok(None),
        _ if !exists(&name, names) => Err(ResponseCode::NXDomain),
        A => Ok(Some(RData::A(names.address_for(&name).into()))),
        _ => Ok(None),
    }
}

/// RFC 6761: never sent anywhere, always loopback.
fn is_localhost(name: &HostName) -> bool {
    let name = name.as_str();
    name.strip_suffix(LOCALHOST).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Every name exists but those of multicast DNS (RFC 6762: they are not for a unicast resolver), unless a route speaks
/// of one, as in networks that use `.local` for their own domain.
fn exists(name: &HostName, names: &Names) -> bool {
    let local = name.as_str().rsplit('.').next() == Some("local");
    name.as_str() != DOH_CANARY && (!local || names.routed(name))
}

/// The name behind a synthetic address, and `localhost` for loopback.
fn reverse(name: &Name, names: &Names) -> Result<RData, ResponseCode> {
    let net = name.parse_arpa_name().map_err(|_| ResponseCode::NXDomain)?;
    let text = match net.addr() {
        _ if net.prefix_len() != net.max_prefix_len() => None,
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => Some(LOCALHOST.to_owned()),
        IpAddr::V4(address) => names.name_of(address).map(String::from),
        IpAddr::V6(_) => None,
    };
    let mut target = text.and_then(|text| Name::from_ascii(text).ok()).ok_or(ResponseCode::NXDomain)?;
    target.set_fqdn(true);
    Ok(RData::PTR(rdata::PTR(target)))
}

/// A name of the wire as a host name. A label is raw bytes there, dots included, and is taken only as what it seems.
fn host_name(name: &Name) -> Option<HostName> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return None;
        }
        text.push_str(std::str::from_utf8(label).ok()?);
        text.push('.');
    }
    HostName::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::policy::EgressPolicy;
    use proptest::prelude::*;

    fn names() -> Names {
        let policy = r#"{"routes":[{"host":"api.example.com","ports":[443]},{"host":"*.corp.local","ports":[443]}]}"#;
        Names::new(&serde_json::from_str::<EgressPolicy>(policy).unwrap())
    }

    fn ask(names: &Names, name: Name, kind: RecordType) -> Message {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name, kind));
        let reply = answer(&query.to_vec().unwrap(), names).unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.message_type), (7, MessageType::Response));
        assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
        reply
    }

    fn outcome(names: &Names, name: &str, kind: RecordType) -> String {
        let reply = ask(names, Name::from_ascii(name).unwrap(), kind);
        match reply.answers.as_slice() {
            [] => format!("{:?}", reply.metadata.response_code),
            [record] => record.data.to_string(),
            _ => panic!("more than one answer"),
        }
    }

    #[test]
    fn questions_and_answers() {
        let names = names();
        let first = "198.18.0.1";
        for (name, kind, expected) in [
            ("api.example.com.", RecordType::A, first),
            ("API.Example.COM.", RecordType::A, first),
            ("api.example.com.", RecordType::AAAA, "NoError"),
            ("api.example.com.", RecordType::HTTPS, "NoError"),
            ("api.example.com.", RecordType::SVCB, "NoError"),
            ("api.example.com.", RecordType::MX, "NoError"),
            ("api.example.com.", RecordType::TXT, "NoError"),
            ("api.example.com.", RecordType::ANY, "Refused"),
            ("api.example.com.", RecordType::AXFR, "Refused"),
            ("denied.test.", RecordType::A, "198.19.0.1"),
            ("1.0.18.198.in-addr.arpa.", RecordType::PTR, "api.example.com."),
            ("1.0.19.198.in-addr.arpa.", RecordType::PTR, "denied.test."),
            ("9.9.18.198.in-addr.arpa.", RecordType::PTR, "NXDomain"),
            ("1.1.168.192.in-addr.arpa.", RecordType::PTR, "NXDomain"),
            ("18.198.in-addr.arpa.", RecordType::PTR, "NXDomain"),
            ("api.example.com.", RecordType::PTR, "NXDomain"),
            ("1.0.0.127.in-addr.arpa.", RecordType::PTR, "localhost."),
            ("localhost.", RecordType::A, "127.0.0.1"),
            ("localhost.", RecordType::AAAA, "::1"),
            ("app.localhost.", RecordType::A, "127.0.0.1"),
            ("localhost.", RecordType::TXT, "NoError"),
            ("notlocalhost.", RecordType::A, "198.19.0.2"),
            ("printer.local.", RecordType::A, "NXDomain"),
            ("dc1.corp.local.", RecordType::AAAA, "NoError"),
            ("use-application-dns.net.", RecordType::A, "NXDomain"),
            ("10.0.0.1.", RecordType::A, "NXDomain"),
            ("2130706433.", RecordType::A, "NXDomain"),
            (".", RecordType::A, "NXDomain"),
        ] {
            assert_eq!(outcome(&names, name, kind), expected, "{name} {kind}");
        }
    }

    #[test]
    fn a_label_is_not_more_than_it_seems() {
        let names = names();
        // One label with a dot in it is not two labels; nor are NUL, bytes over 127 or escapes part of a host.
        for label in [&b"api.example"[..], b"a b", b"a\0b", b"a\xffb", b"b\xc3\xbcch", b"*", b"a\\b", b"a/b"] {
            let name = Name::from_labels([label, b"com"]).unwrap();
            let reply = ask(&names, name, RecordType::A);
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{label:?}");
        }
    }

    #[test]
    fn what_is_not_a_plain_question() {
        let names = names();
        let question = Query::query(Name::from_ascii("api.example.com.").unwrap(), RecordType::A);
        let code = |query: &Message| {
            let reply = answer(&query.to_vec().unwrap(), &names).unwrap();
            Message::from_vec(&reply).unwrap().metadata.response_code
        };
        let none = Message::new(1, MessageType::Query, OpCode::Query);
        assert_eq!(code(&none), ResponseCode::FormErr);
        let mut two = none.clone();
        two.add_query(question.clone()).add_query(question.clone());
        assert_eq!(code(&two), ResponseCode::FormErr);
        let mut update = Message::new(1, MessageType::Query, OpCode::Update);
        update.add_query(question.clone());
        assert_eq!(code(&update), ResponseCode::NotImp);
        let mut chaos = none.clone();
        let mut other = question.clone();
        other.query_class = DNSClass::CH;
        chaos.add_query(other);
        assert_eq!(code(&chaos), ResponseCode::Refused);

        let mut edns = none.clone();
        edns.add_query(question.clone()).set_edns(Edns::new());
        let reply = Message::from_vec(&answer(&edns.to_vec().unwrap(), &names).unwrap()).unwrap();
        assert!(reply.edns.is_some() && reply.answers.len() == 1);
        let mut later = Edns::new();
        later.set_version(1);
        edns.set_edns(later);
        // 16 is BADVERS in an OPT record (RFC 6891) and BADSIG in a signature.
        assert_eq!(u16::from(code(&edns)), 16);

        let mut response = Message::new(1, MessageType::Response, OpCode::Query);
        response.add_query(question);
        assert_eq!(answer(&response.to_vec().unwrap(), &names), None);
        assert_eq!(answer(&[0; HEADER - 1], &names), None);
        assert_eq!(answer(&[0; MAX_DNS_MESSAGE + 1], &names), None);
    }

    #[test]
    fn the_fuzzers_seeds_are_answered_or_dropped() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/resolver");
        let mut outcomes = std::collections::BTreeMap::new();
        for seed in std::fs::read_dir(seeds).unwrap() {
            let reply = answer(&std::fs::read(seed.unwrap().path()).unwrap(), &names());
            let code = reply.map(|reply| Message::from_vec(&reply).unwrap().metadata.response_code);
            *outcomes.entry(format!("{code:?}")).or_insert(0) += 1;
        }
        // They reach each of these, so they are worth starting from.
        for code in ["None", "Some(NoError)", "Some(FormErr)", "Some(Refused)", "Some(NXDomain)", "Some(NotImp)"] {
            assert!(outcomes.contains_key(code), "no seed leads to {code}: {outcomes:?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_answered_or_dropped(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(reply) = answer(&bytes, &names()) {
                prop_assert_eq!(reply.get(..2), bytes.get(..2));
                prop_assert!(reply.len() <= 512 && reply[2] & 0x80 != 0);
            }
        }

        #[test]
        fn any_reverse_name_is_answered(
            labels in prop::collection::vec("[0-9a-f]{1,4}|[a-z]{1,3}|[^.]{1,2}", 0..35),
            zone in prop::sample::select(vec!["in-addr", "ip6", "other"]),
        ) {
            let labels = labels.iter().map(String::as_bytes).chain([zone.as_bytes(), b"arpa"]);
            let name = Name::from_labels(labels).unwrap_or_default();
            ask(&names(), name, RecordType::PTR);
        }

        #[test]
        fn damaged_questions_are_answered_or_dropped(at in 0usize..45, byte: u8, name in "[a-z.]{1,60}") {
            let mut query = Message::new(7, MessageType::Query, OpCode::Query);
            query.add_query(Query::query(Name::from_ascii(name).unwrap_or_default(), RecordType::A));
            query.set_edns(Edns::new());
            let mut bytes = query.to_vec().unwrap();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Some(reply) = answer(&bytes, &names()) {
                prop_assert!(Message::from_vec(&reply).is_ok());
            }
        }
    }
}
