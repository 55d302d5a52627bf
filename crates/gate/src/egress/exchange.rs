//! One connection's HTTP: every request in it is asked about anew, sent, and answered. The one place where a reason
//! becomes a response and a line in the audit log.

use super::{
    Egress, Live,
    accept::Place,
    authority::Origin,
    body::ResponseBody,
    denial::Facts,
    downstream::{Activity, Downstream},
    flow::{Flow, Returned, head_length},
    frames::Relay,
    guard::{Guard, REFUSED, Watch},
    hearing::Hearing,
    inbound::Listener,
    inject::Credentialed,
    judge::Judge,
    lasting::Lasting,
    line::Arriving,
    lingering::Lingering,
    request::{self, Received},
    respond::{respond, strip_connection},
    screen::{Screened, screen},
    upstream::Answer,
    waiting::{self, Work},
    websocket::{self, Filters, splice},
};
use crate::limits::{HEAD_TIME, MAX_HEAD_BYTES, MAX_HEADERS, MAX_HELD, MAX_STREAMS};
use bottle_policy::Subject as _;
use bottle_spec::{policy::Inbound, verdict::Reason};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, watch},
};
use tokio_rustls::server::TlsStream;

/// How the origin of a connection's requests is known.
#[derive(Debug)]
pub(crate) enum Door {
    /// By each request's absolute form.
    Proxy,
    /// By the tunnel, or the address that was connected to.
    Tunnel(Arc<Origin>),
}

/// One connection.
#[derive(Debug)]
struct Session {
    egress: Arc<Egress>,
    door: Door,
    watch: Watch,
    place: Place,
}

pub(crate) async fn serve_h1(egress: Arc<Egress>, stream: Downstream, door: Door, place: Place) {
    let activity = stream.activity();
    h1(egress, stream, activity, door, place).await;
}

pub(crate) async fn serve_tls_h1(
    egress: Arc<Egress>,
    tls: TlsStream<Downstream>,
    activity: Activity,
    origin: Arc<Origin>,
    place: Place,
) {
    h1(egress, tls, activity, Door::Tunnel(origin), place).await;
}

async fn h1<S>(egress: Arc<Egress>, stream: S, activity: Activity, door: Door, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, watch) = Guard::new(stream);
    let mut draining = egress.draining.subscribe();
    let session = Arc::new(Session { egress: Arc::clone(&egress), door, watch, place });
    let service = {
        let session = Arc::clone(&session);
        service_fn(move |request| {
            let session = Arc::clone(&session);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS + 1)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = activity.idle() => return,
        () = egress.frozen_out() => return,
        () = drained(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = egress.frozen_out() => return,
            }
        }
    };
    if let Err(error) = &ended {
        session.broken(error);
    } else if session.watch.has_refused() {
        session.egress.deny(&Facts { origin: session.origin(), ..Facts::default() }, Reason::RequestMalformed);
    }
}

pub(crate) async fn serve_h2(
    egress: Arc<Egress>,
    tls: TlsStream<Downstream>,
    activity: Activity,
    origin: Arc<Origin>,
    place: Place,
) {
    let mut draining = egress.draining.subscribe();
    let (door, watch) = (Door::Tunnel(origin), Watch::default());
    let session = Arc::new(Session { egress: Arc::clone(&egress), door, watch, place });
    let service = {
        let session = Arc::clone(&session);
        service_fn(move |request| {
            let session = Arc::clone(&session);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        // CVE-2023-44487: streams opened and reset at once.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .max_header_list_size(super::MAX_HEADER_LIST)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Duration::from_secs(60))
        .serve_connection(TokioIo::new(tls), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = activity.idle() => return,
        () = egress.frozen_out() => return,
        () = drained(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = egress.frozen_out() => return,
            }
        }
    };
    if let Err(error) = ended {
        session.broken(&error);
    }
}

/// Returns when the door is to take nothing new.
async fn drained(draining: &mut watch::Receiver<bool>) {
    // An error means that the door itself is gone.
    let _ = draining.wait_for(|draining| *draining).await;
}

impl Session {
    /// A connection that ended in an error. Requests that hyper itself refused are denials like any other.
    fn broken(&self, error: &hyper::Error) {
        tracing::debug!(error = error as &dyn std::error::Error, "connection");
        let facts = Facts { origin: self.origin(), ..Facts::default() };
        if error.is_parse() || self.watch.has_refused() || is_h2_violation(error) {
            self.egress.deny(&facts, Reason::RequestMalformed);
        } else if error.is_timeout() && self.watch.is_within_head() {
            self.egress.deny(&facts, Reason::LimitExceeded);
        }
    }

    fn origin(&self) -> Option<Arc<Origin>> {
        match &self.door {
            Door::Tunnel(origin) => Some(Arc::clone(origin)),
            Door::Proxy => None,
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Returned> {
        if !waiting::wants_events(request.headers()) {
            return self.whole(request, None).await;
        }
        let waits = Arc::new(Notify::new());
        let told = Arc::clone(&waits);
        let mut work: Work = Box::pin(async move { self.whole(request, Some(told)).await });
        tokio::select! {
            response = &mut work => response,
            () = waits.notified() => waiting::begin(work),
        }
    }

    /// From a request to what it is answered.
    async fn whole(&self, request: Request<Incoming>, waits: Option<Arc<Notify>>) -> Response<Returned> {
        if request.method().as_str() == REFUSED {
            return self.refused(&request).map(Returned::from);
        }
        let mut facts = Facts {
            origin: self.origin(),
            method: Some(request.method().clone()),
            target: request.uri().path_and_query().cloned(),
            supervised: self.egress.supervised,
            waits,
            ..Facts::default()
        };
        match self.exchange(Lingering::within(request), &mut facts).await {
            Ok(response) => response,
            Err(reason) => {
                self.egress.deny(&facts, reason);
                facts.response(reason).map(Returned::from)
            }
        }
    }

    /// Answers a request that the guard took off the wire.
    fn refused(&self, request: &Request<Incoming>) -> Response<ResponseBody> {
        let code = request.uri().path().trim_start_matches('/');
        let reason = Reason::ALL.iter().find(|reason| reason.code() == code).copied();
        let reason = reason.unwrap_or(Reason::RequestMalformed);
        let facts = Facts { origin: self.origin(), ..Facts::default() };
        self.egress.deny(&facts, reason);
        let mut response = facts.response(reason);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    async fn exchange(&self, request: Request<Lingering>, facts: &mut Facts) -> Result<Response<Returned>, Reason> {
        if self.egress.is_frozen() {
            return Err(Reason::Frozen);
        }
        let live = self.egress.live.load_full();
        let origin = request::origin(&request, &self.door)?;
        facts.origin = Some(Arc::clone(&origin));
        let received = Received::new(request, origin)?;
        let permitted = live.rules.permit(received).map_err(|refused| refused.reason)?;
        let route = permitted.route();
        facts.observed = live.rules.is_observed(route);
        let method_override = permitted.subject().question().method_override;
        let scanner = self.egress.knowledge.scanner(&self.egress.vault);
        let judge = Judge::new(&self.egress, &live.rules, permitted.route(), facts);
        let screened = screen(permitted, &scanner, &judge).await;
        let mut screened = screened.map_err(|reason| blamed(reason, &judge, facts))?;
        self.egress.piece(&screened, &judge).map_err(|reason| blamed(reason, &judge, facts))?;
        let mut spare = None;
        if is_renewable(&live, &screened) {
            screened.hold(MAX_HELD).await.map_err(|reason| blamed(reason, &judge, facts))?;
            spare = screened.spare();
        }
        self.approved(&live, &mut screened, &judge, facts).await?;
        self.afford(&live, &screened, facts)?;
        if let Some(text) = live.rules.route(route).and_then(|route| route.answer.as_ref()) {
            self.egress.take_once(&live.rules, route)?;
            self.egress.allow(facts, false)?;
            return Ok(answered(text).map(Returned::from));
        }
        let credentialed = live.credentials.inject(screened, &live.rules, &self.egress.vault)?;
        self.egress.take_once(&live.rules, route)?;
        let seq = self.egress.allow(facts, credentialed.injected.is_some())?;
        let mut flow = Flow::new(&self.egress, &live.rules, facts, seq);
        let lent = self.lent(&live, route, facts, method_override);
        let answer = match &lent {
            None => self.sent(&live, credentialed, &flow).await,
            Some(lent) => tokio::select! {
                answer = self.sent(&live, credentialed, &flow) => answer,
                reason = lent.refusal() => return Err(reason),
            },
        };
        let mut answer = answer.map_err(|reason| stopped(reason, &judge, &flow, facts))?;
        if let Some(again) = self.renewed(&live, &answer, spare, facts).await {
            let (again, seq) = (again?, self.egress.allow(facts, true)?);
            flow = Flow::new(&self.egress, &live.rules, facts, seq);
            answer = self.sent(&live, again, &flow).await.map_err(|reason| stopped(reason, &judge, &flow, facts))?;
        }
        let Answer { response, method, scrubber, upgrade, .. } = answer;
        let inbound = live.rules.route(route).map_or(Inbound::Warn, |route| route.inbound);
        match (response.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) => {
                let once = live.rules.route(route).and_then(|route| route.granted.as_ref()).is_some_and(|it| it.once);
                let lasting = Lasting::request(&self.egress, facts.clone(), method_override).for_once(once);
                let relay = Relay::new(&scanner, Arc::clone(&judge));
                let hearing = Listener::of_messages(&self.egress, facts, inbound).map(Hearing::new);
                let filters = Filters { up: Some(relay), down: scrubber, hearing, flow: Some(flow) };
                self.switch(response, upgrade, filters, lasting, facts).map(|response| response.map(Returned::from))
            }
            (StatusCode::SWITCHING_PROTOCOLS, None) => Err(Reason::UpstreamProtocol),
            _ => {
                let listener = Listener::new(&self.egress, facts, inbound, response.headers());
                let decoders = &self.egress.decoders;
                let response = respond(response, &method, scrubber.as_ref(), listener, decoders).await?;
                Ok(response.map(|body| Returned::new(body, flow, lent)))
            }
        }
    }

    async fn sent(&self, live: &Live, credentialed: Credentialed, flow: &Arc<Flow>) -> Result<Answer, Reason> {
        tokio::select! {
            // The connection to the upstream may have broken off first.
            answer = live.upstream.send(credentialed, flow) => {
                answer.map_err(|reason| if self.egress.is_frozen() { Reason::Frozen } else { reason })
            }
            () = self.egress.frozen.frozen() => Err(Reason::Frozen),
        }
    }

    /// Asks the operator where the route or what was found says so.
    async fn approved(
        &self,
        live: &Live,
        screened: &mut Screened,
        judge: &Judge,
        facts: &mut Facts,
    ) -> Result<(), Reason> {
        if judge.asks() {
            // So that what is found in it is found before anything goes on.
            screened.hold(MAX_HELD).await.map_err(|reason| blamed(reason, judge, facts))?;
        }
        let found = judge.take_asked();
        if found.is_empty() && !live.rules.route(screened.route).is_some_and(|route| route.ask) {
            return Ok(());
        }
        if facts.waits.is_some() {
            // What goes on in a stream that has begun cannot be packed.
            screened.parts.headers.remove(header::ACCEPT_ENCODING);
        }
        self.egress.ask(facts, &found).await?;
        // The policy may be another one by now; what it no longer allows the yes does not bring back.
        Lasting::request(&self.egress, facts.clone(), false).allowed()
    }

    /// What can be taken back while it is under way: a request by a route that was granted, and not for this very one.
    fn lent(&self, live: &Live, route: usize, facts: &Facts, method_override: bool) -> Option<Lasting> {
        let granted = live.rules.route(route)?.granted.as_ref().filter(|granted| !granted.once);
        granted.map(|_| Lasting::request(&self.egress, facts.clone(), method_override))
    }

    /// Spends what the request costs besides its body, which pays as it goes.
    fn afford(&self, live: &Live, screened: &Screened, facts: &mut Facts) -> Result<(), Reason> {
        let line = facts.method.as_ref().map_or(0, |method| method.as_str().len())
            + facts.target.as_ref().map_or(0, |target| target.as_str().len());
        let head = line + head_length(&screened.parts.headers);
        let body = screened.body.size_hint().lower();
        self.egress.afford(&live.rules, screened.route, facts, head as u64, body)
    }

    /// After a 401 to a secret that can be read anew: the request once more with the fresh one. Where the request
    /// cannot be repeated, the fresh secret is there for the next.
    async fn renewed(
        &self,
        live: &Live,
        answer: &Answer,
        spare: Option<Screened>,
        facts: &mut Facts,
    ) -> Option<Result<Credentialed, Reason>> {
        let injected = answer.injected.as_ref().filter(|injected| injected.source.is_read_anew())?;
        if answer.response.status() != StatusCode::UNAUTHORIZED {
            return None;
        }
        if let Err(error) = self.egress.vault.refresh(&injected.source, injected.generation).await {
            tracing::info!(%error, "a secret that the upstream refused was not renewed");
            return None;
        }
        let spare = spare?;
        let afforded = self.afford(live, &spare, facts);
        Some(afforded.and_then(|()| live.credentials.inject(spare, &live.rules, &self.egress.vault)))
    }

    /// Answers 101 and copies bytes from then on, in a task of its own that keeps the connection's place.
    fn switch(
        &self,
        mut response: Response<Arriving>,
        upgrade: OnUpgrade,
        filters: Filters,
        lasting: Lasting,
        facts: &Facts,
    ) -> Result<Response<ResponseBody>, Reason> {
        if !websocket::is_accepted(&response) {
            return Err(Reason::UpstreamProtocol);
        }
        let upstream = hyper::upgrade::on(&mut response);
        self.watch.open();
        let (egress, place, facts) = (Arc::clone(&self.egress), Arc::clone(&self.place), facts.clone());
        let (scrubber, flow) = (filters.down.clone(), filters.flow.clone());
        tokio::spawn(async move {
            let _place = place;
            if let (Ok(down), Ok(up)) = tokio::join!(upgrade, upstream) {
                let refused = tokio::select! {
                    refused = splice(TokioIo::new(down), TokioIo::new(up), &egress.frozen, filters) => refused,
                    () = lasting.revoked() => None,
                };
                let over = flow.as_ref().and_then(|flow| flow.over());
                let facts = Facts { over, ..facts };
                refused.into_iter().for_each(|reason| egress.deny(&facts, reason));
            }
        });
        let mut headers = std::mem::take(response.headers_mut());
        strip_connection(&mut headers);
        if let Some(scrubber) = scrubber {
            scrubber.headers(&mut headers);
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let mut switching = Response::new(ResponseBody::Held(None));
        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *switching.headers_mut() = headers;
        Ok(switching)
    }
}

/// The reason behind the reason: what the scan found, or why a body was stopped late, which ended the connection to the
/// upstream.
pub(crate) fn blamed(reason: Reason, judge: &Judge, facts: &mut Facts) -> Reason {
    let Some(found) = judge.blocked() else { return judge.stopped().unwrap_or(reason) };
    *facts = facts.without(found.place());
    facts.finding = Some(Arc::clone(found));
    Reason::Finding
}

/// The same of a request that was allowed: its body may also have spent a budget.
fn stopped(reason: Reason, judge: &Judge, flow: &Flow, facts: &mut Facts) -> Reason {
    facts.over = flow.over();
    if facts.over.is_some() { Reason::BudgetExceeded } else { blamed(reason, judge, facts) }
}

/// What a route answers by itself; nothing goes upstream.
fn answered(text: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text.to_owned().into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_renewable(live: &Live, screened: &Screened) -> bool {
    let auth = live.rules.route(screened.route).and_then(|route| route.auth.as_ref());
    auth.is_some_and(|auth| auth.secret.is_read_anew())
}

/// Whether the agent's HTTP/2 broke a rule or a limit, other than by going away.
fn is_h2_violation(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| !error.is_io() && !error.is_remote() && error.reason() != Some(h2::Reason::NO_ERROR))
}
