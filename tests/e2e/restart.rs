//! A log file that grows is followed by `tail -F` and `longwave publish --lines`; every kind of client follows the topic;
//! the server is killed and started again, several times. Each client gets every line once and in order.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use longwave_e2e::{
    Data, Expected, Follower, FollowerKind, HANG_LIMIT, LongwaveServer, POLL_INTERVAL, Process,
    Publisher, binary, first_difference,
};
use tokio::process::Command;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_file_reaches_every_client_once_and_in_order_through_restarts() {
    let mut rng = fastrand::Rng::new();
    println!("seed {}", rng.get_seed());
    let mut server = LongwaveServer::start(SETTINGS).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut followers = JoinSet::new();
    let mut progress = Vec::new();
    for kind in FollowerKind::ALL {
        let bases = vec![server.url(); kind.clients().len()];
        let follower = Follower::start(kind, &bases, TOPIC, folder.path()).unwrap();
        progress.push((kind, follower.progress()));
        followers.spawn(async move { (kind, follower.finish().await) });
    }
    let mut file = LogFile::create(&folder.path().join("app.log"));
    let (mut tail, mut publish) = follow_file(&server, folder.path());

    for _ in 0..RESTARTS {
        // So that each life of the server sees something of everybody, and each death is in the middle of something.
        file.append_lines(&mut rng);
        for (kind, delivered) in &mut progress {
            let enough = delivered.wait_for(|count| *count >= file.lines.len());
            let in_time = matches!(tokio::time::timeout(HANG_LIMIT, enough).await, Ok(Ok(_)));
            assert!(in_time, "{kind:?} stopped at {}", *delivered.borrow());
        }
        for _ in 0..rng.usize(1..30) {
            file.append_lines(&mut rng);
            tokio::time::sleep(Duration::from_millis(rng.u64(0..10))).await;
        }
        server.kill().await.unwrap();
        for _ in 0..rng.usize(1..10) {
            file.append_lines(&mut rng);
        }
        server.spawn().unwrap();
        server.wait_until_ready().await.unwrap();
    }
    file.append_lines(&mut rng);

    wait_for_line(&server, file.lines.last().unwrap(), &mut publish).await;
    tail.kill().await.unwrap();
    let status = tokio::time::timeout(HANG_LIMIT, publish.wait()).await.unwrap().unwrap();
    assert!(status.success(), "publish ended with {status}: {}", publish.last_words());
    Publisher::new(&topic_url(&server)).unwrap().end().await.unwrap();

    let expected: Vec<Expected> =
        file.lines.iter().map(|line| Expected::new(None, Data::Text(line.clone()))).collect();
    let mut failures = Vec::new();
    for (kind, delivered) in followers.join_all().await {
        match delivered {
            Err(error) => failures.push(format!("{kind:?}: {error:#}")),
            Ok(delivered) => {
                for (client, view, _) in kind.clients() {
                    let difference = first_difference(&expected, &delivered[client], *view);
                    failures.extend(difference.map(|text| format!("{client}: {text}")));
                }
            }
        }
    }
    println!("{} lines", expected.len());
    assert!(failures.is_empty(), "{} lines\n{}", expected.len(), failures.join("\n"));
}

/// A log file as a program writes it: by lines, some of them written in two parts.
struct LogFile {
    file: File,
    lines: Vec<String>,
}

impl LogFile {
    fn create(path: &Path) -> LogFile {
        LogFile { file: File::create(path).unwrap(), lines: Vec::new() }
    }

    fn append_lines(&mut self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(1..5) {
            let padding = "·".repeat(rng.usize(0..40));
            let line =
                format!("INFO request {} took {} ms {padding}", self.lines.len(), rng.u8(..));
            let (start, rest) = line.as_bytes().split_at(rng.usize(0..10));
            self.file.write_all(start).unwrap();
            self.file.write_all(rest).unwrap();
            self.file.write_all(b"\n").unwrap();
            self.lines.push(line);
        }
    }
}

/// `tail -n +1 -F app.log | longwave publish TOPIC --lines`
fn follow_file(server: &LongwaveServer, folder: &Path) -> (Process, Process) {
    let mut command = Command::new("tail");
    command.args(["-n", "+1", "-F", "app.log"]).current_dir(folder).stdout(Stdio::piped());
    let mut tail = Process::start(command, &folder.join("tail.log")).unwrap();
    let input: Stdio = tail.take_output().unwrap().try_into().unwrap();
    let mut command = Command::new(binary().unwrap());
    command.args(["publish", TOPIC, "--lines", "--server", &server.url()]);
    command.stdout(File::create(folder.join("publish.out")).unwrap());
    let publish = Process::start_reading(input, command, &folder.join("publish.log")).unwrap();
    (tail, publish)
}

async fn newest(server: &LongwaveServer) -> Option<serde_json::Value> {
    let url = format!("{}?format=json&last=1", topic_url(server));
    let client = reqwest::Client::builder().no_proxy().timeout(HANG_LIMIT).build().unwrap();
    let body = client.get(url).send().await.unwrap().text().await.unwrap();
    let page: serde_json::Value = serde_json::from_str(&body).unwrap();
    Some(page["events"].as_array()?.first()?.clone())
}

async fn wait_for_line(server: &LongwaveServer, line: &str, publish: &mut Process) {
    let wait = async {
        while newest(server).await.is_none_or(|event| event["data"] != *line) {
            let ended = publish.exited().unwrap();
            assert!(ended.is_none(), "publish ended: {}", publish.last_words());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(HANG_LIMIT, wait).await.unwrap();
}

fn topic_url(server: &LongwaveServer) -> String {
    format!("{}/topics/{TOPIC}", server.url())
}

const TOPIC: &str = "logs/app";
const SETTINGS: &[(&str, &str)] = &[("--retry", "200ms"), ("--retry-jitter", "100ms")];
const RESTARTS: usize = 5;
