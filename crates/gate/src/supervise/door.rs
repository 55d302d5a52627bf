//! Connections at the supervise door, as HTTP.
//!
//! Invariant: a bounded number at once, each with bounded heads, bodies and time; a peer that is slow or wrong ends its
//! own connection and nothing else.

use super::{desk::Desk, tools::Tools};
use crate::door_listener::{Arrival, DoorListener};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

const MAX_CONNECTIONS: usize = 64;
const MAX_BODY: usize = 64 << 10;
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 64;
/// For a head to arrive, also the next one on a connection.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Of a connection, whatever it does: longer than the longest wait for a decision.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// Between signs of life in an answer that waits.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Service = StreamableHttpService<Tools, NeverSessionManager>;

/// Ends when the listener fails for good.
pub(super) async fn serve(listener: DoorListener, desk: Arc<Desk>) {
    let config = StreamableHttpServerConfig::default()
        // Nothing is kept between two requests: there is nothing to fill up, and nothing to lose.
        .with_legacy_session_mode(false)
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        .with_sse_retry(None)
        .with_max_request_body_bytes(MAX_BODY)
        .enforce_origin_validation();
    let tools = move || Ok(Tools::new(Arc::clone(&desk)));
    let service: Service = StreamableHttpService::new(tools, Arc::new(NeverSessionManager::default()), config);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(Arrival { stream, .. }) => {
                // Answers are short, and somebody waits for each.
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(stream, service.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not taken");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, service: Service, _place: OwnedSemaphorePermit) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<Response<BoxBody<Bytes, Infallible>>, Infallible>(service.handle(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    if let Ok(Err(error)) = timeout(LIFE, connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}
