//! Sockets that handlers take over, over real connections: [`Kit`] serves as the server does, and the taken sockets come
//! out at its other end.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use futures_util::stream;
use http::HeaderValue;
use longwave_store::{MemoryLog, MemoryOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use crate::http::{App, Front, HttpOptions, Phase};
use crate::takeover::{TakenSocket, Takeover, TakeoverOffer};

use super::accept::{Acceptor, listen};
use super::connection::ConnectionRules;

/// The server's own way from the listener to the handlers, with a few handlers for tests.
struct Kit {
    addr: SocketAddr,
    app: App,
    connections: Arc<Semaphore>,
    taken: mpsc::UnboundedReceiver<TakenSocket>,
}

/// Whether hyper collects what it writes in one buffer or in a queue of them.
#[derive(Clone, Copy, Debug)]
enum Writes {
    Vectored,
    Flattened,
}

type Takers = mpsc::UnboundedSender<TakenSocket>;

impl Kit {
    fn start() -> Kit {
        Kit::with(Writes::Vectored)
    }

    fn with(writes: Writes) -> Kit {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let options = HttpOptions::default();
        let mut rules = ConnectionRules::new(&options);
        rules.write_vectored(matches!(writes, Writes::Vectored));
        let app = App::new(log, commits, options, &[addr]).unwrap();
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (takers, taken) = mpsc::unbounded_channel();
        let routes = Router::new()
            .route("/taken", any(take).with_state(takers))
            .route("/large", get(large))
            .route("/trickled", get(trickled))
            .route("/early", post(early))
            .route("/echo", post(async |body: Bytes| body));
        let acceptor = Acceptor {
            listener,
            front: Front::with_routes(app.clone(), routes),
            connections: Arc::clone(&connections),
            rules: Arc::new(rules),
            phase: app.phase(),
        };
        tokio::spawn(acceptor.run());
        Kit { addr, app, connections, taken }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.addr)).await.unwrap()
    }

    /// Connects as a client that has room for little that it did not read yet.
    async fn connect_narrowly(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        within(socket.connect(self.addr)).await.unwrap()
    }

    async fn taken(&mut self) -> TakenSocket {
        within(self.taken.recv()).await.unwrap()
    }

    /// Waits until no connection is counted any more.
    async fn all_closed(&self) {
        let all = u32::try_from(CONNECTIONS_MAX).unwrap();
        drop(within(self.connections.acquire_many(all)).await.unwrap());
    }
}

async fn take(State(takers): State<Takers>, offer: Option<Extension<TakeoverOffer>>) -> Response {
    let Some(Extension(offer)) = offer else { return "not offered".into_response() };
    let takeover = Takeover::new(offer, move |socket| takers.send(socket).unwrap());
    let headers = [("content-type", HeaderValue::from_static("text/event-stream"))];
    (headers, [("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap())], Extension(takeover))
        .into_response()
}

/// Answers before it has heard all, and goes on listening.
async fn early(body: Body) -> Vec<u8> {
    tokio::spawn(axum::body::to_bytes(body, PIECE_BYTES));
    vec![b'x'; LARGE_BYTES]
}

async fn large() -> Vec<u8> {
    vec![b'x'; LARGE_BYTES]
}

/// As much as [`large`], in pieces that are never ready at once, so that hyper flushes in between.
async fn trickled() -> Body {
    Body::from_stream(stream::unfold(0, async |sent| {
        tokio::task::yield_now().await;
        let piece = || (Ok::<_, std::io::Error>(vec![b'x'; PIECE_BYTES]), sent + PIECE_BYTES);
        (sent < LARGE_BYTES).then(piece)
    }))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("nothing came")
}

fn request(start: &str) -> String {
    format!("{start} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// Sends a request and reads until the server closes.
async fn exchange(client: &mut TcpStream, requests: &str) -> String {
    within(client.write_all(requests.as_bytes())).await.unwrap();
    rest(client).await
}

async fn rest(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    within(client.read_to_end(&mut bytes)).await.unwrap();
    bytes.into_iter().map(char::from).collect()
}

/// Reads up to and including `end`.
async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        read.push(char::from(within(client.read_u8()).await.unwrap()));
    }
    read
}

/// Does what the owner of a taken socket has to: the head, a body in chunks, the end.
fn answer(taken: TakenSocket) {
    let TakenSocket { mut stream, permit, head } = taken;
    stream.set_nonblocking(false).unwrap();
    stream.write_all(&head).unwrap();
    stream.write_all(b"5\r\nhello\r\n0\r\n\r\n").unwrap();
    drop((stream, permit));
}

const ANSWER_END: &str = "\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn the_head_has_what_the_middleware_put_on_it() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    let asked = "GET /taken HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost:3000\r\n\r\n";
    client.write_all(asked.as_bytes()).await.unwrap();
    answer(kit.taken().await);
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(ANSWER_END), "{answer}");
    let head = answer.strip_suffix(ANSWER_END).unwrap();
    for line in [
        "content-type: text/event-stream",
        "x-bytes: \u{ff}",
        "access-control-allow-origin: http://localhost:3000",
        "transfer-encoding: chunked",
        "connection: close",
    ] {
        assert_eq!(head.lines().filter(|told| *told == line).count(), 1, "{line} in {head}");
    }
    assert!(head.contains("\r\nvary: ") && head.contains("\r\ndate: "), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    let metrics = kit.app.metrics().encode(&kit.app).unwrap();
    let counted = "longwave_http_requests_total{method=\"GET\",route=\"/taken\",status=\"200\"} 1";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    kit.all_closed().await;
}

#[tokio::test]
async fn a_stream_waits_until_a_slow_reader_was_sent_all_that_came_before() {
    for writes in [Writes::Vectored, Writes::Flattened] {
        for before in ["/large", "/trickled"] {
            let mut kit = Kit::with(writes);
            let mut client = kit.connect_narrowly().await;
            let pipelined = request(&format!("GET {before}")) + &request("GET /taken");
            client.write_all(pipelined.as_bytes()).await.unwrap();
            let owner = tokio::spawn(async move { answer(kit.taken().await) });
            check_large_and_stream(&rest(&mut client).await);
            owner.await.unwrap();
        }
    }
}

/// The hard case: hyper goes on to the next request as soon as this one was read and its answer is in hyper's buffer.
/// Once from the queue of buffers, where it looks whether that is empty, and once from the single buffer, where it
/// does not.
#[tokio::test]
async fn a_stream_waits_for_the_answer_to_a_request_whose_body_ended_late() {
    for writes in [Writes::Vectored, Writes::Flattened] {
        let mut kit = Kit::with(writes);
        let mut client = kit.connect_narrowly().await;
        let begun = "POST /early HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\npin";
        client.write_all(begun.as_bytes()).await.unwrap();
        let mut answers = read_until(&mut client, "\r\n\r\nx").await;
        let pipelined = format!("g{}", request("GET /taken"));
        client.write_all(pipelined.as_bytes()).await.unwrap();
        let owner = tokio::spawn(async move { answer(kit.taken().await) });
        // So that the server has read that before it has room to write again.
        yield_a_while().await;
        answers += &rest(&mut client).await;
        check_large_and_stream(&answers);
        owner.await.unwrap();
    }
}

/// Checks that there are a large answer, whole, and then a stream.
#[track_caller]
fn check_large_and_stream(answers: &str) {
    let bytes = answers.bytes().filter(|byte| *byte == b'x').count();
    assert!(bytes >= LARGE_BYTES, "only {bytes} bytes came");
    let (first, second) = answers.rsplit_once("HTTP/1.1 200 OK\r\n").unwrap();
    assert!(first.ends_with('x') || first.ends_with("x\r\n0\r\n\r\n"), "the first is not whole");
    assert!(second.contains("text/event-stream") && second.ends_with(ANSWER_END), "{second}");
}

#[tokio::test]
async fn requests_before_a_stream_are_answered_on_the_same_connection() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    let published = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n";
    client.write_all(published.as_bytes()).await.unwrap();
    client.write_all(b"ping").await.unwrap();
    let echoed = read_until(&mut client, "ping").await;
    assert!(echoed.starts_with("HTTP/1.1 200 OK\r\n"), "{echoed}");
    // And in one go.
    let pipelined = format!("{published}pong{}", request("GET /taken"));
    client.write_all(pipelined.as_bytes()).await.unwrap();
    answer(kit.taken().await);
    let answers = rest(&mut client).await;
    let (echoed, stream) = answers.split_once("pong").unwrap();
    assert!(echoed.starts_with("HTTP/1.1 200 OK\r\n"), "{echoed}");
    assert!(stream.starts_with("HTTP/1.1 200 OK\r\n"), "{stream}");
    assert!(stream.ends_with(ANSWER_END), "{stream}");
}

#[tokio::test]
async fn requests_behind_a_stream_are_not_answered() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    let pipelined = request("GET /taken") + &request("GET /large");
    client.write_all(pipelined.as_bytes()).await.unwrap();
    answer(kit.taken().await);
    let answers = rest(&mut client).await;
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
    assert!(answers.ends_with(ANSWER_END), "{answers}");
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_by_a_stream_gets_no_offer() {
    let mut kit = Kit::start();
    for (asked, answered) in [
        ("HEAD /taken HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", ""),
        ("GET /taken HTTP/1.0\r\nhost: localhost\r\n\r\n", "not offered"),
        ("GET /taken HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n", "not offered"),
        (
            "POST /taken HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: 4\r\n\r\nbody",
            "not offered",
        ),
        (
            "GET /taken HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "not offered",
        ),
    ] {
        let answer = exchange(&mut kit.connect().await, asked).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 OK\r\n"), "{answer}");
        assert_eq!(body, answered, "{asked}");
    }
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let response = within(http2.get(format!("http://{}/taken", kit.addr)).send()).await.unwrap();
    assert_eq!(within(response.text()).await.unwrap(), "not offered");
    assert!(kit.taken.try_recv().is_err());
}

#[tokio::test]
async fn a_request_to_be_upgraded_to_http2_may_be_answered_by_a_stream() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    let asked = "GET /taken HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\n\
                 upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    client.write_all(asked.as_bytes()).await.unwrap();
    answer(kit.taken().await);
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(ANSWER_END), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_takeover_is_forgotten() {
    let mut kit = Kit::start();
    let mut client = kit.connect_narrowly().await;
    let pipelined = request("GET /large") + &request("GET /taken");
    client.write_all(pipelined.as_bytes()).await.unwrap();
    // The first answer has begun, and there is no room for the rest of it.
    within(client.read_u8()).await.unwrap();
    drop(client);
    kit.all_closed().await;
    assert!(kit.taken.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_leaves_after_the_takeover_is_its_owners_affair() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    client.write_all(request("GET /taken").as_bytes()).await.unwrap();
    let taken = kit.taken().await;
    drop(client);
    let mut stream = {
        taken.stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(taken.stream).unwrap()
    };
    assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap(), 0);
    assert_eq!(kit.connections.available_permits(), CONNECTIONS_MAX - 1);
    drop((stream, taken.permit));
    kit.all_closed().await;
}

#[tokio::test]
async fn a_server_that_goes_down_leaves_taken_sockets_to_their_owner() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    client.write_all(request("GET /taken").as_bytes()).await.unwrap();
    let taken = kit.taken().await;
    let mut idle = kit.connect().await;
    idle.write_all(request("POST /echo").as_bytes()).await.unwrap();
    read_until(&mut idle, "\r\n\r\n").await;
    kit.app.enter(Phase::Draining);
    assert_eq!(rest(&mut idle).await, "");
    kit.app.enter(Phase::Closed);
    let all_but_one = u32::try_from(CONNECTIONS_MAX - 1).unwrap();
    drop(within(kit.connections.acquire_many(all_but_one)).await.unwrap());
    assert!(kit.connections.try_acquire_many(all_but_one + 1).is_err());
    answer(taken);
    assert!(rest(&mut client).await.ends_with(ANSWER_END));
    kit.all_closed().await;
}

#[tokio::test]
async fn a_taken_socket_does_not_block() {
    let mut kit = Kit::start();
    let mut client = kit.connect().await;
    client.write_all(request("GET /taken").as_bytes()).await.unwrap();
    let taken = kit.taken().await;
    let error = std::io::Read::read(&mut &taken.stream, &mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn which_http_it_is_is_told_from_any_pieces() {
    let kit = Kit::start();
    // The empty SETTINGS that a client begins with, and a ping that shows that nothing behind was lost.
    let http2 =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0pingpong";
    let http1 = b"PRI * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for cut in 1..PREFACE_BYTES + 2 {
        let mut client = kit.connect().await;
        client.set_nodelay(true).unwrap();
        send_cut(&mut client, http2, cut).await;
        let mut told = Vec::new();
        while !told.ends_with(b"\0\0\x08\x06\x01\0\0\0\0pingpong") {
            told.push(within(client.read_u8()).await.unwrap());
        }
        let mut client = kit.connect().await;
        client.set_nodelay(true).unwrap();
        send_cut(&mut client, http1, cut).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{cut}: {answer}");
        assert!(answer.contains("application/problem+json"), "{cut}: {answer}");
    }
}

#[tokio::test]
async fn a_preface_that_breaks_off_ends_the_connection() {
    let kit = Kit::start();
    for begun in ["", "PRI * HTTP/2.0\r\n\r\nSM\r"] {
        let mut client = kit.connect().await;
        client.write_all(begun.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await;
    }
    kit.all_closed().await;
}

/// Sends the bytes in two pieces that don't arrive together, usually.
async fn send_cut(client: &mut TcpStream, bytes: &[u8], at: usize) {
    let (first, second) = bytes.split_at(at);
    client.write_all(first).await.unwrap();
    yield_a_while().await;
    client.write_all(second).await.unwrap();
}

/// Lets the server do what it can. Everything runs on one thread here.
async fn yield_a_while() {
    for _ in 0..YIELDS {
        tokio::task::yield_now().await;
    }
}

const CONNECTIONS_MAX: usize = 100;
const LARGE_BYTES: usize = 8 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
const PREFACE_BYTES: usize = 24;
const YIELDS: usize = 100;
const HANG: Duration = Duration::from_secs(60);
