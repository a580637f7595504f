//! One connection's life: [`serve`].

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io::Cursor;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, join};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::yield_now;

use crate::http::{Code, Front, HttpOptions, Phase, Problem};
use crate::takeover::{AwaitedTakeover, TakeoverOffer};

use super::last_words::last_words;
use super::preface::Sniffer;
use super::socket::{Departure, Rest, Socket};

/// What all connections of a server have in common.
pub(super) struct ConnectionRules {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    timeout_answer: Vec<u8>,
}

impl ConnectionRules {
    pub(super) fn new(options: &HttpOptions) -> ConnectionRules {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(options.header_read_timeout_ms))
            // The buffer alone is no sharp limit: one read may go beyond it.
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(options.http2_streams_max)
            .max_header_list_size(HTTP2_HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES);
        let too_slow =
            Problem::new(Code::RequestTimeout, "the request's head took too long to arrive");
        ConnectionRules { http1, http2, timeout_answer: last_words(&too_slow) }
    }

    /// Whether hyper writes several buffers at once, as it would anyway, or copies them into one.
    #[cfg(test)]
    pub(super) fn write_vectored(&mut self, writes: bool) {
        self.http1.writev(writes);
    }
}

/// Serves a connection to its end: the peer's, an error's, a timeout's or the server's, or until a handler takes it.
pub(super) async fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    front: Front,
    rules: Arc<ConnectionRules>,
    phase: watch::Receiver<Phase>,
) {
    let socket = Socket::new(stream, permit);
    let end = match serve_http1(&socket, &front, &rules, phase.clone()).await {
        End::Departed(Departure::Takeover(takeover)) => return give_away(socket, takeover),
        // On the heap, or each connection would take as much memory as one of this rarer kind.
        End::Departed(Departure::Http2 { read }) => {
            Box::pin(serve_http2(&socket, read, front, &rules, phase)).await
        }
        end => end,
    };
    match end {
        End::Closed { rest } => socket.close(NOTHING, rest).await,
        // A peer that said nothing is told nothing.
        End::TimedOut if socket.has_begun_request() => {
            socket.close(&rules.timeout_answer, Rest::Awaited).await;
        }
        End::TimedOut | End::Departed(_) => socket.close(NOTHING, Rest::Awaited).await,
    }
}

/// How the service of a connection ended.
enum End {
    /// There is nothing more to say.
    Closed { rest: Rest },
    /// The peer took too long.
    TimedOut,
    /// The connection goes on otherwise.
    Departed(Departure),
}

async fn serve_http1(
    socket: &Socket,
    front: &Front,
    rules: &ConnectionRules,
    phase: watch::Receiver<Phase>,
) -> End {
    let requests = Arc::new(Requests::default());
    let service = service_fn(|mut request: Request<Incoming>| {
        let (front, socket) = (front.clone(), socket.clone());
        let under_way = Requests::begin(&requests);
        if let Some(offer) = TakeoverOffer::to(&request) {
            request.extensions_mut().insert(offer);
        }
        async move {
            let response = front.answer(request).await;
            match AwaitedTakeover::of(response) {
                Err(response) => {
                    drop(under_way);
                    Ok::<_, Infallible>(response)
                }
                Ok(takeover) => {
                    // Not before hyper polls this future is everything answered earlier at least in hyper's buffer.
                    socket.depart(Departure::Takeover(takeover));
                    // So that hyper comes to flush once more, even if it has nothing to write.
                    yield_now().await;
                    pending().await
                }
            }
        }
    });
    let io = TokioIo::new(join(Sniffer::new(socket.clone()), socket.clone()));
    let connection = rules.http1.serve_connection(io, service).with_upgrades();
    drive(connection, http1::UpgradeableConnection::graceful_shutdown, socket, &requests, phase)
        .await
}

async fn serve_http2(
    socket: &Socket,
    read: Vec<u8>,
    front: Front,
    rules: &ConnectionRules,
    phase: watch::Receiver<Phase>,
) -> End {
    let requests = Arc::new(Requests::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (front, under_way) = (front.clone(), Requests::begin(&requests));
        async move {
            let response = front.answer(request).await;
            drop(under_way);
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(join(Cursor::new(read).chain(socket.clone()), socket.clone()));
    let connection = rules.http2.serve_connection(io, service);
    match drive(connection, http2::Connection::graceful_shutdown, socket, &requests, phase).await {
        // An answer in HTTP/1.1 is none to this peer.
        End::TimedOut => End::Closed { rest: Rest::Awaited },
        end => end,
    }
}

/// Runs a connection until it ends, departs, or the server does away with it.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    finish: fn(Pin<&mut C>),
    socket: &Socket,
    requests: &Requests,
    mut phase: watch::Receiver<Phase>,
) -> End {
    let mut connection = pin!(connection);
    let mut rest = Rest::Awaited;
    let mut known = Phase::Serving;
    loop {
        let run = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(Err(error)) if error.is_timeout() => Poll::Ready(End::TimedOut),
            Poll::Ready(_) => Poll::Ready(End::Closed { rest }),
            Poll::Pending => {
                socket.due_departure().map_or(Poll::Pending, |due| Poll::Ready(End::Departed(due)))
            }
        });
        known = tokio::select! {
            biased;
            end = run => return end,
            next = later_phase(&mut phase, known) => next,
        };
        match known {
            Phase::Closed => return End::Closed { rest },
            // Its next request shall be answered, by the server that has the log.
            Phase::Serving | Phase::Leaving => continue,
            Phase::Draining => {}
        }
        if requests.under_way() == 0 {
            rest = Rest::Unwanted;
        }
        finish(connection.as_mut());
    }
}

/// Hands the socket to whoever wanted it, unless the connection was upgraded behind its back.
fn give_away(socket: Socket, takeover: AwaitedTakeover) {
    let Some((stream, permit)) = socket.into_parts() else { return };
    match stream.into_std() {
        Ok(stream) => takeover.complete(stream, permit),
        Err(error) => tracing::debug!(%error, "a connection is lost, for it can't be taken over"),
    }
}

/// The requests of a connection.
#[derive(Default)]
struct Requests {
    under_way: AtomicU64,
}

/// A request to which there is no answer yet.
struct UnderWay(Arc<Requests>);

impl Requests {
    fn begin(requests: &Arc<Requests>) -> UnderWay {
        requests.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(requests))
    }

    fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the server is in this phase or a later one.
pub(super) async fn enters(mut phases: watch::Receiver<Phase>, phase: Phase) {
    // An error means that the server is gone, which is as good as closed.
    drop(phases.wait_for(|now| *now >= phase).await);
}

/// Waits until the server is in a later phase than this one.
async fn later_phase(phases: &mut watch::Receiver<Phase>, known: Phase) -> Phase {
    phases.wait_for(|now| *now > known).await.map_or(Phase::Closed, |now| *now)
}

const NOTHING: &[u8] = b"";
/// The most bytes of an HTTP/1.1 request's head; one with more is answered `431`, as is one with more than 100 fields,
/// which is hyper's own limit. Hyper reads bodies in pieces of up to this size.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// How much of a stream's response HTTP/2 holds for a peer that does not read. The library's own 400 KiB would let
/// slow readers make the server grow.
const HTTP2_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// An HTTP/2 peer that vanished without a word is noticed after these.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
