//! The real binary as a process: a server that can be killed and started again, and commands that talk to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `longwave serve` with a log on disk, killed when it is dropped.
pub(crate) struct ServeProcess {
    child: Child,
    pub(crate) addr: SocketAddr,
    dir: TempDir,
    flags: Vec<String>,
    /// Everything up to the line that says where it listens.
    pub(crate) banner: String,
    log: Arc<Mutex<String>>,
}

impl ServeProcess {
    /// On a port that stays the same through restarts.
    pub(crate) fn start(flags: &[&str]) -> ServeProcess {
        let dir = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let port = port_outside_of_the_ephemeral_range();
        let log = Arc::default();
        let (child, addr, banner) = spawn(dir.path(), port, &flags, &log);
        ServeProcess { child, addr, dir, flags, banner, log }
    }

    /// Kills it with SIGKILL, and starts another on the same port and data.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.addr, self.banner) =
            spawn(self.dir.path(), self.addr.port(), &self.flags, &self.log);
    }

    /// What it has written to its standard error so far, in all its lives.
    pub(crate) fn logged(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command that talks to this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = longwave(arguments);
        command.env("LONGWAVE_SERVER", format!("http://{}", self.addr));
        command
    }

    /// Runs a command that talks to this server to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        run(self.command(arguments), b"")
    }

    /// Runs a command with this on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Done {
        run(self.command(arguments), input)
    }

    /// Asks it to go in order, and gives the status it goes with.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.signal();
        self.wait(|_| {})
    }

    /// Asks it to go again and again, and gives the status it goes with.
    pub(crate) fn signal_until_it_goes(&mut self) -> i32 {
        self.wait(ServeProcess::signal)
    }

    fn signal(&self) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
    }

    fn wait(&mut self, meanwhile: impl Fn(&ServeProcess)) -> i32 {
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < deadline, "the server does not go");
            meanwhile(self);
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Checks that it succeeded, and gives what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Checks that it failed with this status, and gives what it said.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }
}

/// A command whose output is read line by line while it runs. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Running { child, lines }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(HANG).expect("no line came")
    }

    /// Writes to its standard input.
    pub(crate) fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends its standard input, waits for it, and gives its status.
    pub(crate) fn finish(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the command does not end");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, without the settings of whoever runs the tests.
pub(crate) fn longwave(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwave"));
    // The help is as wide as the terminal says, and there is none.
    command.args(arguments).env_remove("COLUMNS");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGWAVE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Done {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Done {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn spawn(
    dir: &Path,
    port: u16,
    flags: &[String],
    log: &Arc<Mutex<String>>,
) -> (Child, SocketAddr, String) {
    let listen = format!("127.0.0.1:{port}");
    let mut command = longwave(&["serve", "--listen", &listen, "--data", "data"]);
    command.args(flags).current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut banner = String::new();
    let addr = loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).unwrap() == 0 {
            let mut why = String::new();
            child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            panic!("the server did not start: {why}");
        }
        banner.push_str(&line);
        if let Some(addr) = line.trim().strip_prefix("listening on http://") {
            break addr.parse().unwrap();
        }
    };
    // Read on, so that neither pipe ever fills up or breaks.
    std::thread::spawn(move || drop(std::io::copy(&mut stdout, &mut std::io::sink())));
    let (stderr, log) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(log));
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    (child, addr, banner)
}

/// A free port that no outgoing connection takes while the server is down between two lives.
fn port_outside_of_the_ephemeral_range() -> u16 {
    // Tests run beside each other, as processes or as threads of one, and each takes a place of its own to start at.
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let place = std::process::id() + 101 * TAKEN.fetch_add(1, Ordering::Relaxed);
    let start = u16::try_from(place % 10_000).unwrap();
    (0..10_000_u16)
        .map(|offset| 20_000 + (start + offset) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port is free")
}

const HANG: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
