//! One connection's life: [`serve`].

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::http::{Code, Front, HttpOptions, Phase, Problem};

use super::last_words::last_words;
use super::socket::{Rest, Socket};

/// What all connections of a server have in common.
pub(super) struct ConnectionRules {
    builder: Builder<TokioExecutor>,
    head_timeout: Duration,
    timeout_answer: Vec<u8>,
}

impl ConnectionRules {
    pub(super) fn new(options: &HttpOptions) -> ConnectionRules {
        let head_timeout = Duration::from_millis(options.header_read_timeout_ms);
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(options.http2_streams_max)
            .max_header_list_size(HTTP2_HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES);
        let too_slow =
            Problem::new(Code::RequestTimeout, "the request's head took too long to arrive");
        ConnectionRules { builder, head_timeout, timeout_answer: last_words(&too_slow) }
    }
}

/// Serves a connection to its end: the peer's, an error's, a timeout's or the server's.
pub(super) async fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    front: Front,
    rules: Arc<ConnectionRules>,
    phase: watch::Receiver<Phase>,
) {
    let socket = Socket::new(stream, permit);
    let requests = Arc::new(Requests::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (front, under_way) = (front.clone(), Requests::begin(&requests));
        async move {
            let response = front.answer(request).await;
            drop(under_way);
            response
        }
    });
    let mut rest = Rest::Awaited;
    let farewell = {
        let io = TokioIo::new(socket.clone());
        let mut connection = pin!(rules.builder.serve_connection_with_upgrades(io, service));
        // Hyper's own timer for a head runs only once hyper knows which HTTP the peer speaks.
        let mut first_bytes = pin!(tokio::time::sleep(rules.head_timeout));
        let mut first_bytes_due = true;
        let mut draining = pin!(enters(phase.clone(), Phase::Draining));
        let mut drained = false;
        let mut closed = pin!(enters(phase, Phase::Closed));
        loop {
            tokio::select! {
                result = connection.as_mut() => match result {
                    Err(error) if is_timeout(&*error) => break timed_out(&rules, &socket),
                    _ => break NOTHING,
                },
                () = first_bytes.as_mut(), if first_bytes_due => {
                    first_bytes_due = false;
                    let undecided = socket.bytes_read() < HTTP2_PREFACE_BYTES;
                    if undecided && requests.begun() == 0 {
                        break timed_out(&rules, &socket);
                    }
                }
                () = draining.as_mut(), if !drained => {
                    drained = true;
                    if requests.under_way() == 0 {
                        rest = Rest::Unwanted;
                    }
                    connection.as_mut().graceful_shutdown();
                }
                () = closed.as_mut() => break NOTHING,
            }
        }
    };
    socket.close(farewell, rest).await;
}

/// The requests of a connection.
#[derive(Default)]
struct Requests {
    begun: AtomicU64,
    answered: AtomicU64,
}

/// A request to which there is no answer yet.
struct UnderWay(Arc<Requests>);

impl Requests {
    fn begin(requests: &Arc<Requests>) -> UnderWay {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(requests))
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn under_way(&self) -> u64 {
        self.begun() - self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until the server is in this phase or a later one.
pub(super) async fn enters(mut phases: watch::Receiver<Phase>, phase: Phase) {
    // An error means that the server is gone, which is as good as closed.
    drop(phases.wait_for(|now| *now >= phase).await);
}

/// What to say to a peer that took too long. A peer that said nothing is told nothing.
fn timed_out<'a>(rules: &'a ConnectionRules, socket: &Socket) -> &'a [u8] {
    if socket.has_begun_request() { &rules.timeout_answer } else { NOTHING }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)
}

const NOTHING: &[u8] = b"";
const HTTP2_PREFACE_BYTES: u64 = 24;
/// The most header fields of an HTTP/1.1 request; one with more is answered `431`.
const HEADERS_MAX: usize = 100;
/// The most bytes of an HTTP/1.1 request's head; one with more is answered `431`. Hyper reads bodies in pieces of up
/// to this size.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// How much of a stream's response HTTP/2 holds for a peer that does not read. The library's own 400 KiB would let
/// slow readers make the server grow.
const HTTP2_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// An HTTP/2 peer that vanished without a word is noticed after these.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
