//! Giving a connection's socket away: what a handler says when it wants the socket itself instead of a response.
//!
//! Read [`Takeover`] first. Here is what a handler and the socket's next owner see, and the response's head as bytes.
//! When a socket may be taken without losing anything is the business of `server/connection.rs`.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::sync::OwnedSemaphorePermit;

/// Says that the response it is put on, as an extension, is given by another owner of the connection's socket.
///
/// The response's status must be one that has a body. Its headers are kept, whoever set them, but for those that say
/// how long the body is and whether the connection goes on; its own body is dropped. The router's middleware sees the
/// response like any other.
///
/// The socket is given away after everything that was answered on it before is with the kernel. That may be never: if
/// the client leaves before, or the server ends, the closure is dropped without being called.
#[derive(Clone)]
pub(crate) struct Takeover(Arc<Mutex<Option<Receive>>>);

type Receive = Box<dyn FnOnce(TakenSocket) + Send>;

/// An extension of requests that may be answered with a [`Takeover`].
///
/// Those over HTTP/1.1 on a bare TCP connection have it, if the answer may have a body (`HEAD` and `CONNECT` are out) and
/// the request has none: nothing then comes in but what the connection's end leaves unread. A request that wants to be
/// upgraded has it too. Upgrading to something that the server doesn't speak may be ignored, and some clients ask for
/// HTTP/2 like that on each first request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakeoverOffer(());

/// A socket that HTTP has no more to do with.
#[derive(Debug)]
pub(crate) struct TakenSocket {
    /// Non-blocking, and registered nowhere. All that was answered before was written to it, in full.
    ///
    /// What the client sent after the request is partly lost, partly still to be read, and answered by nobody. Closing a
    /// socket over unread input resets the connection, and the client may lose what it was sent last.
    pub(crate) stream: TcpStream,
    /// Counts the connection. To be held for as long as the socket is open: a server that goes down waits for it.
    pub(crate) permit: OwnedSemaphorePermit,
    /// The response's head up to the empty line, which the new owner writes first. A body in chunks (RFC 9112 §7.1)
    /// must follow, and then the connection's end.
    pub(crate) head: Vec<u8>,
}

impl Takeover {
    /// Calls `receive` with the socket of the connection that made the offer. It runs in the connection's task, so it
    /// must not block.
    pub(crate) fn new(
        _offer: TakeoverOffer,
        receive: impl FnOnce(TakenSocket) + Send + 'static,
    ) -> Takeover {
        Takeover(Arc::new(Mutex::new(Some(Box::new(receive)))))
    }
}

impl TakeoverOffer {
    /// The offer to a request that came over HTTP on a bare TCP connection.
    pub(crate) fn to<B: Body>(request: &Request<B>) -> Option<TakeoverOffer> {
        let fits = request.version() == Version::HTTP_11
            && request.method() != Method::HEAD
            && request.method() != Method::CONNECT
            && request.body().is_end_stream();
        fits.then_some(TakeoverOffer(()))
    }
}

/// A response whose head is ready and waits for the moment in which the socket can be given away.
pub(crate) struct AwaitedTakeover {
    head: Vec<u8>,
    receive: Receive,
}

impl AwaitedTakeover {
    /// The takeover that this response asks for, which is then done with; the response itself where it asks for none.
    pub(crate) fn of<B>(mut response: Response<B>) -> Result<AwaitedTakeover, Response<B>> {
        let asked = response.extensions_mut().remove::<Takeover>();
        let receive = asked
            .and_then(|takeover| takeover.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        match receive {
            Some(receive) => {
                let head = encode_head(response.status(), response.headers());
                Ok(AwaitedTakeover { head, receive })
            }
            None => Err(response),
        }
    }

    /// Gives the socket away.
    pub(crate) fn complete(self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        (self.receive)(TakenSocket { stream, permit, head: self.head });
    }
}

/// A response's head as HTTP/1.1 has it, for a body in chunks after which the connection closes.
fn encode_head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let values: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
    let mut head = Vec::with_capacity(values + FIXED_BYTES);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if !FRAMING.contains(name) {
            encode_field(&mut head, name.as_str(), value);
        }
    }
    if !headers.contains_key(header::DATE)
        && let Ok(now) = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now())
        && let Ok(now) = HeaderValue::try_from(now)
    {
        encode_field(&mut head, "date", &now);
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    head
}

fn encode_field(head: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// What the encoded head decides itself. The router, for one, adds the length of the body that isn't sent.
const FRAMING: [header::HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];
/// What a field takes beside its name and value.
const FIELD_BYTES: usize = ": \r\n".len();
/// Enough for the status line, the date and the end of a head.
const FIXED_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn head_of(response: Response<()>) -> String {
        let head = encode_head(response.status(), response.headers());
        // One character a byte, so that what is no UTF-8 can be compared too.
        head.iter().map(|byte| char::from(*byte)).collect()
    }

    fn request(version: Version, method: Method) -> http::request::Builder {
        Request::builder().version(version).method(method).uri("/")
    }

    #[test]
    fn a_head_has_every_value_of_every_header_byte_by_byte() {
        let response = Response::builder()
            .header("date", "Sat, 01 Jan 2000 00:00:00 GMT")
            .header("vary", "origin")
            .header("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .header("vary", "accept")
            .header("x-empty", "")
            .body(())
            .unwrap();
        assert_eq!(
            head_of(response),
            "HTTP/1.1 200 OK\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\nvary: origin\r\n\
             vary: accept\r\nx-latin: caf\u{e9}\r\nx-empty: \r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_head_frames_the_body_itself() {
        let response = Response::builder()
            .status(404)
            .header("date", "Sat, 01 Jan 2000 00:00:00 GMT")
            .header("content-length", "0")
            .header("transfer-encoding", "identity")
            .header("connection", "keep-alive")
            .header("upgrade", "h2c")
            .body(())
            .unwrap();
        assert_eq!(
            head_of(response),
            "HTTP/1.1 404 Not Found\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_head_has_a_date_and_may_lack_a_reason() {
        let response = Response::builder().status(299).body(()).unwrap();
        let head = head_of(response);
        assert!(head.starts_with("HTTP/1.1 299 \r\ndate: "), "{head}");
        let date = head.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
        assert!(date.len() == "Sat, 01 Jan 2000 00:00:00 GMT".len(), "{date}");
        assert!(date.ends_with(" GMT"), "{date}");
    }

    #[test]
    fn only_what_can_be_answered_without_end_on_a_bare_socket_is_offered() {
        for (version, method, offered) in [
            (Version::HTTP_11, Method::GET, true),
            (Version::HTTP_11, Method::POST, true),
            (Version::HTTP_11, Method::HEAD, false),
            (Version::HTTP_11, Method::CONNECT, false),
            (Version::HTTP_10, Method::GET, false),
            (Version::HTTP_2, Method::GET, false),
        ] {
            let request = request(version, method.clone()).body(Body::empty()).unwrap();
            assert_eq!(TakeoverOffer::to(&request).is_some(), offered, "{version:?} {method}");
        }
        let with_body = request(Version::HTTP_11, Method::GET).body(Body::from("x")).unwrap();
        assert!(TakeoverOffer::to(&with_body).is_none());
    }

    #[test]
    fn a_response_that_asks_for_nothing_stays_what_it_was() {
        let response = Response::builder().status(404).body("body").unwrap();
        let response = AwaitedTakeover::of(response).err().unwrap();
        assert_eq!((response.status().as_u16(), *response.body()), (404, "body"));
    }
}
