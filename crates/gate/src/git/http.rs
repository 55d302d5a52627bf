//! The same repositories over smart HTTP (gitprotocol-http), for clients that do not speak `git://`.
//!
//! Invariants: only the three requests of the protocol are answered; a body is bounded, unpacked or not, before git
//! reads it; what is refused is one line of text.

use super::{
    door::{Denied, Door, SILENCE, ended, stale},
    mirror::Freshness,
    relay,
    repository::Repository,
};
use async_compression::tokio::write::GzipDecoder;
use bottle_policy::git::{
    Asked, Request as Wanted, Service,
    pkt::{self, FLUSH},
    request::version,
};
use bottle_spec::event::GitOperation;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    process::{Command, Stdio},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{
        TcpStream, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

const MAX_HEAD: usize = 16 << 10;
/// What a client may say in one request of a fetch, unpacked: names of objects that it has.
const MAX_NEGOTIATION: u64 = 64 << 20;
/// The same of a push, whose pack git bounds itself.
const MAX_PUSH: u64 = 4 << 30;
/// A client that packs what it pushes is silent meanwhile, between two requests; closed on it, its upload is lost.
const IDLE: Duration = Duration::from_secs(600);
const CHUNK: usize = 64 << 10;

type Body = Either<Full<Bytes>, FromGit>;

pub(super) async fn serve(door: Arc<Door>, stream: TcpStream) -> io::Result<()> {
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(answer(&door, request).await) }
    });
    let mut server = http1::Builder::new();
    server.max_buf_size(MAX_HEAD).timer(TokioTimer::new()).header_read_timeout(IDLE).half_close(true);
    server.serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

/// One of the protocol's requests.
struct Call {
    wanted: Wanted,
    /// Which refs there are, and not yet the service itself.
    refs: bool,
}

impl Call {
    fn parse<B>(request: &Request<B>) -> Option<Call> {
        let path = request.uri().path();
        let protocol = request.headers().get("git-protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let version = version(protocol.split(':'));
        let (path, service, refs) = if let Some(path) = path.strip_suffix("/info/refs") {
            let query = request.uri().query()?;
            let service = query.split('&').find_map(|pair| pair.strip_prefix("service="))?;
            (path, Service::parse(service)?, true)
        } else {
            let (path, service) = path.rsplit_once('/')?;
            (path, Service::parse(service)?, false)
        };
        let method = if refs { Method::GET } else { Method::POST };
        (request.method() == method).then_some(())?;
        Some(Call { wanted: Wanted { service, asked: Asked::of_path(path), version }, refs })
    }
}

async fn answer(door: &Arc<Door>, request: Request<Incoming>) -> Response<Body> {
    let Some(call) = Call::parse(&request) else {
        return refused(StatusCode::NOT_FOUND, "the git gate serves fetch and push, and nothing else");
    };
    let (repository, freshness) = match door.admit(&call.wanted).await {
        Ok(admitted) => admitted,
        Err(denied) => return refused(StatusCode::FORBIDDEN, &denied.to_string()),
    };
    let is_push = call.wanted.service == Service::ReceivePack;
    if let (true, Freshness::Stale(why)) = (is_push, &freshness) {
        return refused(StatusCode::FORBIDDEN, &Denied::Upstream(why.clone()).to_string());
    }
    let served =
        if call.refs { refs(door, &call, &repository) } else { run(door, &call, request, repository, freshness) };
    served.unwrap_or_else(|error| {
        tracing::error!(%error, "git over HTTP");
        refused(StatusCode::INTERNAL_SERVER_ERROR, &Denied::Start.to_string())
    })
}

fn command(door: &Door, call: &Call, repository: &Repository) -> Command {
    let mut options = vec!["--stateless-rpc"];
    if call.refs {
        options.push("--http-backend-info-refs");
    }
    let mut command = if call.wanted.service == Service::ReceivePack {
        door.home.receive_pack(repository.path(), &options)
    } else {
        let path = repository.path().display().to_string();
        door.home.git(&[&["upload-pack", "--strict", SILENCE], &options[..], &["--", &path]].concat())
    };
    if call.wanted.version > 0 {
        command.env("GIT_PROTOCOL", format!("version={}", call.wanted.version));
    }
    command
}

fn refs(door: &Door, call: &Call, repository: &Repository) -> io::Result<Response<Body>> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = command(door, call, repository);
    command.stdout(Stdio::from(blocking(theirs)?));
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    tokio::spawn(async move { child.wait().await });
    let service = call.wanted.service.as_str();
    // The second version says what it is by itself.
    let first = match call.wanted.version {
        2 => Bytes::new(),
        _ => Bytes::from([&pkt::line(format!("# service={service}\n").as_bytes())[..], FLUSH].concat()),
    };
    let (read, _) = ours.into_split();
    Ok(response(&format!("application/x-{service}-advertisement"), FromGit { first, read }))
}

fn run(
    door: &Arc<Door>,
    call: &Call,
    request: Request<Incoming>,
    repository: Arc<Repository>,
    freshness: Freshness,
) -> io::Result<Response<Body>> {
    let (ours, theirs) = UnixStream::pair()?;
    let (read, write) = ours.into_split();
    let command = command(door, call, &repository);
    let door = Arc::clone(door);
    let is_push = call.wanted.service == Service::ReceivePack;
    let name = match &call.wanted.asked {
        Asked::Name(name) | Asked::Other(name) => name.clone(),
    };
    tokio::spawn(feed(request, write, if is_push { MAX_PUSH } else { MAX_NEGOTIATION }));
    tokio::spawn(async move {
        let running = async {
            match freshness {
                Freshness::Stale(why) => relay::with_warning(command, theirs, &stale(&why)).await,
                Freshness::Current => door.run(command, theirs, is_push.then_some((&name[..], &repository))).await,
            }
        };
        let operation = if is_push { GitOperation::Push } else { GitOperation::Fetch };
        ended(door.unless_frozen(operation, &name, running).await);
    });
    let service = call.wanted.service.as_str();
    Ok(response(&format!("application/x-{service}-result"), FromGit { first: Bytes::new(), read }))
}

impl Door {
    /// Runs git on one end of a pair of sockets; a push with its hooks.
    async fn run(
        &self,
        mut command: Command,
        socket: UnixStream,
        push: Option<(&str, &Arc<Repository>)>,
    ) -> io::Result<()> {
        let socket = blocking(socket)?;
        command.stdin(Stdio::from(socket.try_clone()?)).stdout(Stdio::from(socket));
        match push {
            Some((name, repository)) => self.receive(command, name, repository).await,
            None => {
                let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
                child.wait().await.map(drop)
            }
        }
    }
}

fn blocking(socket: UnixStream) -> io::Result<OwnedFd> {
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket))
}

/// The request's body for git, and then its end.
async fn feed(request: Request<Incoming>, write: OwnedWriteHalf, most: u64) {
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let gzip = matches!(encoding, Some(b"gzip" | b"x-gzip"));
    let bounded = Bounded { write, left: most };
    let fed = if gzip { copy(request, GzipDecoder::new(bounded)).await } else { copy(request, bounded).await };
    if let Err(error) = fed {
        tracing::debug!(%error, "the body of a request to git");
    }
}

async fn copy(request: Request<Incoming>, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            to.write_all(&bytes).await?;
        }
    }
    to.shutdown().await
}

/// Takes so many bytes and then fails.
struct Bounded {
    write: OwnedWriteHalf,
    left: u64,
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.left {
            return Poll::Ready(Err(io::Error::other("more was sent than git may be told at once")));
        }
        let polled = Pin::new(&mut self.write).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.left = self.left.saturating_sub(u64::try_from(*written).unwrap_or(u64::MAX));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}

/// What git says, as it says it.
struct FromGit {
    first: Bytes,
    read: OwnedReadHalf,
}

impl http_body::Body for FromGit {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        let mut bytes = vec![0; CHUNK];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.read).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) => {
                let length = buffer.filled().len();
                bytes.truncate(length);
                Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from(bytes)))))
            }
        }
    }
}

fn response(kind: &str, body: FromGit) -> Response<Body> {
    let mut response = Response::new(Either::Right(body));
    if let Ok(kind) = HeaderValue::from_str(kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// git shows a text behind `remote:`.
fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(format!("{text}\n")))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
