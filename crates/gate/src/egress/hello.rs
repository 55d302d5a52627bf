//! The TLS ClientHello, read before anything answers it: which server name it asks for, and whether it hides one.
//!
//! Sans-I/O; RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 9849 for ECH. Only what is needed is read; whether the
//! whole is sound is left to rustls (intercept) or to the upstream (passthrough). Nothing here allocates by what a
//! length field claims.

/// Record type `handshake`; the first byte of every TLS connection.
pub(crate) const HANDSHAKE_RECORD: u8 = 22;
/// The longest ClientHello taken, in bytes; those with post-quantum key shares have some 2 KiB.
pub(crate) const MAX_HELLO: usize = 32 << 10;
const MAX_RECORD: usize = 16 << 10;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// As sent; `None` where there is no server name.
    pub(crate) server_name: Option<String>,
    /// The extension is there. Real and decoy ones look alike from outside.
    pub(crate) encrypted: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    Partial,
    Whole(Hello),
}

/// Not a ClientHello, or one that is broken where it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the ClientHello at the front of a connection's bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut message = Vec::new();
    let mut input = Input(bytes);
    loop {
        if let Some(body) = whole_message(&message)? {
            return of_body(body).map(Parsed::Whole);
        }
        if bytes.first().is_some_and(|b| *b != HANDSHAKE_RECORD) || message.len() > MAX_HELLO {
            return Err(Malformed);
        }
        let Some(header) = input.take(5) else { return Ok(Parsed::Partial) };
        let [HANDSHAKE_RECORD, 3, _, high, low] = header else { return Err(Malformed) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > MAX_RECORD {
            return Err(Malformed);
        }
        let Some(fragment) = input.take(length) else { return Ok(Parsed::Partial) };
        message.extend_from_slice(fragment);
    }
}

/// The body of the handshake message once all of it has come.
fn whole_message(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some(([kind, a, b, c], rest)) = message.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if *kind != CLIENT_HELLO || length > MAX_HELLO {
        return Err(Malformed);
    }
    Ok(rest.get(..length))
}

fn of_body(body: &[u8]) -> Result<Hello, Malformed> {
    let mut input = Input(body);
    input.take(2 + 32).ok_or(Malformed)?;
    input.counted_by_byte().ok_or(Malformed)?;
    input.counted().ok_or(Malformed)?;
    input.counted_by_byte().ok_or(Malformed)?;
    let mut hello = Hello { server_name: None, encrypted: false };
    if input.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Input(input.counted().ok_or(Malformed)?);
    while !extensions.0.is_empty() {
        let kind = extensions.number().ok_or(Malformed)?;
        let data = extensions.counted().ok_or(Malformed)?;
        match kind {
            SERVER_NAME if hello.server_name.is_some() => return Err(Malformed),
            SERVER_NAME => hello.server_name = Some(server_name(data).ok_or(Malformed)?),
            ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            _ => {}
        }
    }
    Ok(hello)
}

/// The one name of type `host_name`; a list of several is refused.
fn server_name(data: &[u8]) -> Option<String> {
    let mut list = Input(Input(data).counted()?);
    if list.take(1)? != [0] {
        return None;
    }
    let name = list.counted()?;
    if list.0.is_empty() { String::from_utf8(name.to_vec()).ok() } else { None }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    fn counted_by_byte(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?.first().copied()?;
        self.take(length.into())
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of short messages")]
mod tests {
    use super::*;

    /// A ClientHello with these extensions, cut into records of at most `record` bytes.
    fn hello(extensions: &[(u16, Vec<u8>)], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let all: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat())
            .collect();
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        let mut message = vec![1];
        message.extend(&(body.len() as u32).to_be_bytes()[1..]);
        message.extend(body);
        let records = message.chunks(record);
        records.flat_map(|r| [&[22, 3, 1][..], &(r.len() as u16).to_be_bytes(), r].concat()).collect()
    }

    fn name(name: &str) -> (u16, Vec<u8>) {
        let length = name.len() as u16;
        (SERVER_NAME, [&(length + 3).to_be_bytes()[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat())
    }

    #[test]
    fn the_name_is_found_whatever_the_records() {
        for record in [1, 7, 16_384] {
            let bytes = hello(&[(10, vec![0; 4]), name("a.test")], record);
            let whole = Hello { server_name: Some("a.test".to_owned()), encrypted: false };
            assert_eq!(parse(&bytes), Ok(Parsed::Whole(whole)));
            assert!((0..bytes.len()).all(|cut| parse(&bytes[..cut]) == Ok(Parsed::Partial)));
        }
    }

    #[test]
    fn no_name_ech_and_two_names() {
        let none = Hello { server_name: None, encrypted: false };
        assert_eq!(parse(&hello(&[], 99)), Ok(Parsed::Whole(none)));
        let Ok(Parsed::Whole(ech)) = parse(&hello(&[name("a.test"), (0xfe0d, vec![0])], 99)) else { panic!() };
        assert!(ech.encrypted);
        assert_eq!(parse(&hello(&[name("a.test"), name("b.test")], 99)), Err(Malformed));
    }

    #[test]
    fn what_is_no_hello_is_refused_and_nothing_panics() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], &[22, 3, 1, 0, 0], &[22, 3, 1, 0xff, 0xff], &[22, 3, 1, 0, 4, 2, 0, 0, 0]]
        {
            assert_eq!(parse(bytes), Err(Malformed), "{bytes:?}");
        }
        let good = hello(&[name("a.test")], 99);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = parse(&bytes);
            }
        }
    }
}
