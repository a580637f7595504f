//! An upstream that does what its scripts say, byte by byte: [`Upstream`], [`Script`], and what it was asked: [`Asked`].
//!
//! Each connection carries one request. Scripts never wait for time, but for words that the test says.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::within;

/// A listening upstream. Requests take the scripts in the order in which they come.
pub(crate) struct Upstream {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    scripts: Mutex<VecDeque<Script>>,
    words: watch::Sender<HashSet<&'static str>>,
    asked: watch::Sender<Vec<Arc<Asked>>>,
}

impl Upstream {
    /// An upstream without a script: it answers 599 until it has one.
    pub(crate) async fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            words: watch::Sender::new(HashSet::new()),
            asked: watch::Sender::new(Vec::new()),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Upstream { addr, shared }
    }

    /// Gives the next request, of those that have none yet, its script.
    pub(crate) fn script(&self, script: Script) {
        self.shared.scripts.lock().unwrap().push_back(script);
    }

    /// Takes back the scripts that no request has begun.
    pub(crate) fn forget_scripts(&self) {
        self.shared.scripts.lock().unwrap().clear();
    }

    /// The URL of a path here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn authority(&self) -> String {
        self.addr.to_string()
    }

    /// Lets the scripts go on that wait for this word, now and later.
    pub(crate) fn say(&self, word: &'static str) {
        self.shared.words.send_modify(|words| {
            words.insert(word);
        });
    }

    /// The request of this number, counted from 0, once its head is here.
    pub(crate) async fn asked(&self, number: usize) -> Arc<Asked> {
        let mut asked = self.shared.asked.subscribe();
        let all = within(asked.wait_for(|all| all.len() > number)).await.unwrap();
        Arc::clone(&all[number])
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.shared.asked.borrow().len()
    }
}

/// An address that refuses connections for as long as this is kept.
pub(crate) struct Nowhere(TcpSocket);

impl Nowhere {
    pub(crate) fn new() -> Nowhere {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Nowhere(socket)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.local_addr().unwrap())
    }
}

/// What an upstream does with one request. It begins when it has the whole body, unless it is told to be early.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    steps: Vec<Step>,
    is_early: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Head { status: u16, headers: Vec<(String, String)> },
    Piece(Vec<u8>),
    Wait(&'static str),
    WaitForHangUp,
    End,
    Cut,
}

impl Script {
    pub(crate) fn new() -> Script {
        Script::default()
    }

    /// Begins with the head of an event stream.
    pub(crate) fn sse() -> Script {
        Script::new().head(200, &[("content-type", "text/event-stream")])
    }

    /// Begins with the head of lines of JSON.
    pub(crate) fn ndjson() -> Script {
        Script::new().head(200, &[("content-type", "application/x-ndjson")])
    }

    /// An answer with a body of known length, whole.
    pub(crate) fn whole(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Script {
        let length = body.as_ref().len().to_string();
        Script::new()
            .head(status, &[("content-type", content_type), ("content-length", &length)])
            .send(body)
            .end()
    }

    /// Begins as soon as the request's head is here.
    pub(crate) fn early(mut self) -> Script {
        self.is_early = true;
        self
    }

    /// Sends the answer's head. The body is chunked unless its length is among the headers.
    pub(crate) fn head(self, status: u16, headers: &[(&str, &str)]) -> Script {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.step(Step::Head { status, headers: headers.collect() })
    }

    /// Sends some bytes, as a chunk of their own.
    pub(crate) fn send(self, bytes: impl AsRef<[u8]>) -> Script {
        self.step(Step::Piece(bytes.as_ref().to_vec()))
    }

    /// Sends some bytes in pieces of this size.
    pub(crate) fn send_in_pieces_of(self, size: usize, bytes: impl AsRef<[u8]>) -> Script {
        bytes.as_ref().chunks(size).fold(self, Script::send)
    }

    /// Waits until the test has said a word.
    pub(crate) fn wait(self, word: &'static str) -> Script {
        self.step(Step::Wait(word))
    }

    /// Ends the body in order.
    pub(crate) fn end(self) -> Script {
        self.step(Step::End)
    }

    /// Closes the connection without ending the body.
    pub(crate) fn cut(self) -> Script {
        self.step(Step::Cut)
    }

    /// Stays silent until the client hangs up.
    pub(crate) fn hang(self) -> Script {
        self.step(Step::WaitForHangUp)
    }

    fn step(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    body: Vec<u8>,
    is_whole: bool,
    /// The client closed before the script was through.
    is_hung_up: bool,
    is_served: bool,
}

impl Asked {
    /// All values under a name, in order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The body, once all of it is here.
    pub(crate) async fn body(&self) -> Vec<u8> {
        self.reached(|progress| progress.is_whole).await;
        self.progress.borrow().body.clone()
    }

    /// Waits until so many bytes of the body are here.
    pub(crate) async fn has_body_bytes(&self, count: usize) {
        self.reached(|progress| progress.body.len() >= count).await;
    }

    /// Waits until the client has closed the connection before its answer was complete.
    pub(crate) async fn hung_up(&self) {
        self.reached(|progress| progress.is_hung_up).await;
    }

    /// Whether it has not, so far.
    pub(crate) fn is_connected(&self) -> bool {
        !self.progress.borrow().is_hung_up
    }

    async fn reached(&self, state: impl FnMut(&Progress) -> bool) {
        within(self.progress.subscribe().wait_for(state)).await.unwrap();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let (mut read, write) = stream.into_split();
    let Some((asked, rest)) = read_head(&mut read).await else { return };
    let asked = Arc::new(asked);
    let script = {
        // The order of requests is that of their scripts.
        let mut scripts = shared.scripts.lock().unwrap();
        shared.asked.send_modify(|all| all.push(Arc::clone(&asked)));
        scripts.pop_front()
    };
    let script = script.unwrap_or_else(|| Script::whole(599, "text/plain", "no script"));
    tokio::spawn(listen(read, rest, Arc::clone(&asked)));
    if !script.is_early {
        let mut progress = asked.progress.subscribe();
        drop(progress.wait_for(|progress| progress.is_whole || progress.is_hung_up).await);
    }
    // Where the client is gone there is nobody to be told.
    drop(play(script, write, &asked, &shared).await);
}

async fn play(
    script: Script,
    mut write: OwnedWriteHalf,
    asked: &Asked,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut is_chunked = false;
    for step in script.steps {
        match step {
            Step::Head { status, headers } => {
                let has_length = headers.iter().any(|(name, _)| name == "content-length");
                is_chunked = !has_length && asked.method != "HEAD" && !matches!(status, 204 | 304);
                let mut head = format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if is_chunked {
                    head.push_str("transfer-encoding: chunked\r\n");
                }
                write.write_all(format!("{head}\r\n").as_bytes()).await?;
            }
            Step::Piece(bytes) if is_chunked => {
                let length = format!("{:x}\r\n", bytes.len());
                write.write_all(&[length.as_bytes(), &bytes, b"\r\n"].concat()).await?;
            }
            Step::Piece(bytes) => write.write_all(&bytes).await?,
            Step::Wait(word) => {
                let mut words = shared.words.subscribe();
                drop(words.wait_for(|words| words.contains(word)).await);
            }
            Step::WaitForHangUp => {
                let mut progress = asked.progress.subscribe();
                drop(progress.wait_for(|progress| progress.is_hung_up).await);
            }
            Step::End => {
                asked.progress.send_modify(|progress| progress.is_served = true);
                if is_chunked {
                    write.write_all(b"0\r\n\r\n").await?;
                }
            }
            Step::Cut => {
                asked.progress.send_modify(|progress| progress.is_served = true);
                return Ok(());
            }
        }
    }
    write.shutdown().await
}

/// Reads a request's body, and then whether the client hangs up.
async fn listen(mut read: OwnedReadHalf, rest: Vec<u8>, asked: Arc<Asked>) {
    let is_chunked = !asked.header("transfer-encoding").is_empty();
    let length = asked.header("content-length").first().map_or(0, |text| text.parse().unwrap());
    let mut raw = rest;
    loop {
        asked.progress.send_modify(|progress| match is_chunked {
            true => progress.is_whole = take_chunks(&mut raw, &mut progress.body),
            false => {
                progress.body.append(&mut raw);
                progress.is_whole = progress.body.len() >= length;
            }
        });
        let mut buffer = vec![0; 64 * 1024];
        match read.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => raw.extend_from_slice(&buffer[..bytes]),
        }
    }
    asked.progress.send_modify(|progress| progress.is_hung_up = !progress.is_served);
}

/// Moves the data of whole chunks into the body. Tells whether the last one was there.
fn take_chunks(raw: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
    while let Some(at) = raw.windows(2).position(|bytes| bytes == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..at]).unwrap(), 16).unwrap();
        let (begin, end) = (at + 2, at + 2 + size);
        if raw.len() < end + 2 {
            return false;
        }
        body.extend_from_slice(&raw[begin..end]);
        raw.drain(..end + 2);
        if size == 0 {
            // Stays whole, whatever the client sends behind it.
            raw.splice(..0, *b"0\r\n\r\n");
            return true;
        }
    }
    false
}

/// A request without its body, and what came behind its head; `None` where the client only looked in.
async fn read_head(read: &mut OwnedReadHalf) -> Option<(Asked, Vec<u8>)> {
    let mut raw = Vec::new();
    let head_end = loop {
        if let Some(at) = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at;
        }
        let mut buffer = [0; 8192];
        match read.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(bytes) => raw.extend_from_slice(&buffer[..bytes]),
        }
    };
    let head = String::from_utf8(raw[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let progress = watch::Sender::new(Progress::default());
    Some((Asked { method, target, headers, progress }, raw[head_end + 4..].to_vec()))
}
