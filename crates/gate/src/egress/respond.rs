//! What an upstream answered, made fit for the agent: connection headers taken off, injected secrets turned back into
//! placeholders, text that gives orders noted or taken out. hyper writes the head anew from parsed values, so nothing in it can split a response.

use super::{
    body::{ResponseBody, Source},
    decode::{Coding, Decoded},
    decoders::Decoders,
    inbound::Listener,
    line::Arriving,
    scrub::Scrubber,
};
use bottle_spec::verdict::Reason;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use std::sync::Arc;

/// Makes the response to a request of this method.
pub(crate) async fn respond(
    response: Response<Arriving>,
    method: &Method,
    scrubber: Option<&Arc<Scrubber>>,
    listener: Option<Listener>,
    decoders: &Decoders,
) -> Result<Response<ResponseBody>, Reason> {
    let (mut parts, body) = response.into_parts();
    strip_connection(&mut parts.headers);
    // There is no way to another protocol or port from inside.
    parts.headers.remove(header::ALT_SVC);
    parts.headers.remove(header::PROXY_AUTHENTICATE);
    parts.extensions.clear();
    if let Some(scrubber) = scrubber {
        scrubber.headers(&mut parts.headers);
    }
    // Such a response has no body, whatever its length says and its upstream sends.
    if *method == Method::HEAD || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Response::from_parts(parts, ResponseBody::Held(None)));
    }
    if scrubber.is_none() && listener.is_none() {
        return Ok(Response::from_parts(parts, ResponseBody::Streamed(body)));
    }
    let source = source(&mut parts.headers, body, decoders).await?;
    let unchanged = scrubber.is_none()
        && matches!(source, Source::Identity(_))
        && listener.as_ref().is_none_or(Listener::changes_nothing);
    if !unchanged {
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::ACCEPT_RANGES);
    }
    Ok(Response::from_parts(parts, ResponseBody::filtered(source, scrubber.cloned(), listener)))
}

async fn source(headers: &mut HeaderMap, body: Arriving, decoders: &Decoders) -> Result<Source, Reason> {
    // Several codings on one another cannot be searched.
    let coding = Coding::of(headers).ok_or(Reason::UpstreamProtocol)?;
    Ok(match Decoded::new(coding, body, decoders.claim(coding).await?) {
        Err(body) => Source::Identity(body),
        Ok(decoded) => {
            headers.remove(header::CONTENT_ENCODING);
            Source::Encoded(Box::new(decoded))
        }
    })
}

/// Takes off what concerns one connection only (RFC 9110, section 7.6.1), and what `Connection` names besides.
pub(crate) fn strip_connection(headers: &mut HeaderMap) {
    const HOP: [HeaderName; 3] = [header::TRANSFER_ENCODING, header::UPGRADE, header::CONNECTION];
    const OLD: [HeaderName; 3] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ];
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
    for name in &OLD {
        headers.remove(name);
    }
}
