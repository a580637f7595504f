//! The programs in `tests/sdk/`, which ask with the official SDKs, and what stands around them.
//!
//! Read [`SdkStage`], then [`SdkProgram`].

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::{HANG_LIMIT, LongwaveServer, Process, repository};

/// A gateway between the simulator of providers and a relay that cuts what clients connect to.
#[derive(Debug)]
pub struct SdkStage {
    /// The server that is the gateway.
    pub server: LongwaveServer,
    upstream: NodeServer,
    relay: NodeServer,
    folder: TempDir,
}

impl SdkStage {
    /// Starts all three.
    ///
    /// # Errors
    /// When one of them does not become ready.
    pub async fn start() -> anyhow::Result<SdkStage> {
        let folder = tempfile::Builder::new().prefix("longwave-sdk-").tempdir()?;
        let upstream = NodeServer::start(
            "examples/llm-upstream/simulator.mjs",
            &["--port", "0"],
            &folder.path().join("upstream.log"),
        )
        .await?;
        let settings = folder.path().join("longwave.toml");
        std::fs::write(&settings, routes(&upstream.url))?;
        let settings = settings.to_str().context("the folder's path is UTF-8")?;
        let server = LongwaveServer::start(&[("--config", settings)]).await?;
        let relay = NodeServer::start(
            "tests/sdk/relay.mjs",
            &["--to", &server.url()],
            &folder.path().join("relay.log"),
        )
        .await?;
        Ok(SdkStage { server, upstream, relay, folder })
    }
}

/// The routes that the programs use: one for each path of a provider, and all of them once more for those who can't wait.
fn routes(upstream: &str) -> String {
    let route = |prefix: &str, path: &str, more: &str| {
        format!(
            "[[gateway.routes]]\nprefix = \"{prefix}\"\nupstream = \"{upstream}{path}\"\n{more}\n"
        )
    };
    [
        route("/v1", "/v1", ""),
        route("/api", "/api", ""),
        // So that chats that nobody wrote in are not asked for upstream.
        route("/ui", "/ui", "dialect = \"vercel-ui\""),
        route("/impatient", "", "timeouts = { idle = \"1s\", first_byte = \"1s\" }"),
    ]
    .concat()
}

/// A program of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two")]
pub enum SdkProgram {
    /// `tests/sdk/python/run.py`.
    Python,
    /// `tests/sdk/js/run.mjs`.
    JavaScript,
}

impl SdkProgram {
    /// Runs all its cases. What it says is printed, for whoever looks at a failure.
    ///
    /// # Errors
    /// When it can't be started, hangs, or ends without having counted.
    #[expect(clippy::print_stdout, reason = "what it prints is shown when a test fails")]
    pub async fn run(self, stage: &SdkStage, seed: u64) -> anyhow::Result<SdkReport> {
        let mut command = self.command()?;
        command
            .args(["--gateway", &stage.server.url()])
            .args(["--upstream", &stage.upstream.url])
            .args(["--relay", &stage.relay.url])
            .args(["--seed", &seed.to_string()])
            .stdout(Stdio::piped());
        without_proxies(&mut command);
        let log = stage.folder.path().join(format!("{self:?}.log"));
        let mut process = Process::start(command, &log)?;
        let output = process.take_output().context("its output was taken before")?;
        let mut lines = BufReader::new(output).lines();
        let mut report = SdkReport::default();
        let reading = async {
            while let Some(line) = lines.next_line().await? {
                println!("{line}");
                report.read(&line);
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PROGRAM_LIMIT, reading)
            .await
            .with_context(|| format!("{self:?} hangs: {}", process.last_words()))??;
        // It says by its status, too, that a case failed; the report tells which.
        process.wait().await?;
        let words = process.last_words();
        anyhow::ensure!(report.is_counted, "{self:?} did not come to its end:\n{words}");
        Ok(report)
    }

    fn command(self) -> anyhow::Result<Command> {
        let folder = repository().join("tests/sdk");
        Ok(match self {
            SdkProgram::Python => {
                let mut command = Command::new(python()?);
                command
                    .env("PYTHONPATH", repository().join("python/src"))
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg(folder.join("python/run.py"));
                command
            }
            SdkProgram::JavaScript => {
                let mut command = Command::new("node");
                command.arg(folder.join("js/run.mjs"));
                command
            }
        })
    }
}

/// How the cases of a program went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SdkReport {
    /// How many cases hold.
    pub passed: usize,
    /// What those say that don't.
    pub failures: Vec<String>,
    /// How many connections were cut.
    pub faults: usize,
    is_counted: bool,
}

impl SdkReport {
    fn read(&mut self, line: &str) {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        if let Some(failure) = line.strip_prefix("FAILED ") {
            self.failures.push(failure.to_owned());
        } else if let Some(faults) = line.strip_suffix(" faults").and_then(number) {
            self.faults = faults;
        } else if let Some((passed, _)) = line.split_once(" passed, ")
            && let Some(passed) = number(passed)
        {
            self.passed = passed;
            self.is_counted = true;
        } else if let Some(failure) = self.failures.last_mut()
            && line.starts_with(' ')
        {
            failure.push('\n');
            failure.push_str(line);
        }
    }
}

/// A program of Node's that listens on a port of its own, and says which.
#[derive(Debug)]
struct NodeServer {
    url: String,
    _process: Process,
    // Closed, it would end the program at the next line that it writes.
    _output: Lines<BufReader<ChildStdout>>,
}

impl NodeServer {
    /// Starts a script of the repository, and waits for the line that names its URL.
    async fn start(script: &str, arguments: &[&str], log: &Path) -> anyhow::Result<NodeServer> {
        let mut command = Command::new("node");
        command.arg(repository().join(script)).args(arguments).stdout(Stdio::piped());
        without_proxies(&mut command);
        let mut process = Process::start(command, log)?;
        let output = process.take_output().context("its output was taken before")?;
        let mut output = BufReader::new(output).lines();
        let line = tokio::time::timeout(HANG_LIMIT, output.next_line())
            .await
            .with_context(|| format!("{script} never was ready"))??
            .with_context(|| format!("{script} ended: {}", process.last_words()))?;
        let (_, address) = line
            .split_once("http://")
            .with_context(|| format!("{script} does not say where it listens: {line}"))?;
        Ok(NodeServer { url: format!("http://{address}"), _process: process, _output: output })
    }
}

/// Proxies of the machine are not meant for servers on it.
fn without_proxies(command: &mut Command) {
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
}

/// The interpreter that has what `tests/sdk/python/requirements.txt` asks for.
fn python() -> anyhow::Result<PathBuf> {
    let path = repository().join("target/python/sdk/bin/python");
    anyhow::ensure!(path.is_file(), "`cargo xtask test sdk` installs what the SDKs need");
    Ok(path)
}

/// Cases have limits of their own; this one ends a program that can't even say that they are over.
const PROGRAM_LIMIT: std::time::Duration = std::time::Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_from_what_a_program_prints() {
        let mut report = SdkReport::default();
        let said = "seed 7\nok one\nFAILED two\n    seed 7\n    wrong\nok three\n12 faults\n2 passed, 1 failed";
        said.lines().for_each(|line| report.read(line));
        assert_eq!(report.passed, 2);
        assert_eq!(report.faults, 12);
        assert_eq!(report.failures, ["two\n    seed 7\n    wrong"]);
        assert!(report.is_counted);
    }
}
