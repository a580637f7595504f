//! `topics`, `info`, `doctor` and `bench` against a real server, and the help of every command.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use expect_test::expect_file;
use serde_json::Value;

use crate::support::process::{ServeProcess, longwave, run};

#[test]
fn the_help_of_every_command_is_as_agreed() {
    let help = |command: &[&str]| run(longwave(&[command, &["--help"]].concat()), b"").ok();
    expect_file!["help/longwave.txt"].assert_eq(&help(&[]));
    expect_file!["help/serve.txt"].assert_eq(&help(&["serve"]));
    expect_file!["help/publish.txt"].assert_eq(&help(&["publish"]));
    expect_file!["help/tail.txt"].assert_eq(&help(&["tail"]));
    expect_file!["help/topics.txt"].assert_eq(&help(&["topics"]));
    expect_file!["help/info.txt"].assert_eq(&help(&["info"]));
    expect_file!["help/doctor.txt"].assert_eq(&help(&["doctor"]));
    expect_file!["help/bench.txt"].assert_eq(&help(&["bench"]));
}

#[test]
fn topics_are_listed_over_several_pages() {
    let server = ServeProcess::start(&["--topics-page-max", "2"]);
    for topic in ["a", "b/1", "b/2", "b/3", "c"] {
        server.run(&["publish", topic, "x"]).ok();
    }
    let names = |text: String| {
        let names = text.lines().map(|line| line.split_whitespace().next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(server.run(&["topics"]).ok()), ["TOPIC", "a", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(names(server.run(&["topics", "b/"]).ok()), ["TOPIC", "b/1", "b/2", "b/3"]);
    let json = server.run(&["topics", "--json"]).ok();
    let topics: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (topics.len(), &topics[0]["topic"], &topics[0]["events"]),
        (5, &"a".into(), &1.into())
    );
}

#[test]
fn a_bench_delivers_everything_once_and_says_so() {
    let server = ServeProcess::start(&[]);
    let flags = ["bench", "--subscribers", "20", "--rate", "100", "--duration", "1s", "--json"];
    let report: Value = serde_json::from_str(&server.run(&flags).ok()).unwrap();
    assert_eq!(report["published"], 100);
    assert_eq!(report["delivered"], 2_000);
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()));
    assert!(report["delivery_latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    assert!(report["server"]["resident_bytes"].as_u64().unwrap() > 0);
    assert_eq!(server.run(&["topics"]).ok(), "", "its topic is gone");
}

#[test]
fn a_bench_of_publishers_counts_what_was_acknowledged() {
    let server = ServeProcess::start(&[]);
    let flags = ["bench", "--publishers", "8", "--subscribers", "0", "--duration", "500ms"];
    let alone = [flags.as_slice(), &["--topic", "kept", "--json"]].concat();
    let report: Value = serde_json::from_str(&server.run(&alone).ok()).unwrap();
    let published = report["published"].as_u64().unwrap();
    let info: Value = serde_json::from_str(&server.run(&["info", "kept", "--json"]).ok()).unwrap();
    assert_eq!(info["events"], published, "neither more nor fewer are in the log");
    assert!(published >= 8 && report["failed"] == 0, "{report}");
    assert!(report["published_per_s"].as_f64().unwrap() > 0.0);
    assert!(report["publish_latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    assert!(report["server"]["cpu_us_per_publish"].is_number());
    assert_eq!(report["delivery_latency_ms"], Value::Null);

    let followed =
        ["bench", "--publishers", "4", "--subscribers", "3", "--duration", "300ms", "--json"];
    let report: Value = serde_json::from_str(&server.run(&followed).ok()).unwrap();
    assert_eq!(report["delivered"], 3 * report["published"].as_u64().unwrap());
    assert_eq!((&report["lost"], &report["duplicates"]), (&0.into(), &0.into()));

    let told = server.run(&flags).ok();
    assert!(told.starts_with("0 subscribers, 8 publishers of 200 bytes\npublished"), "{told}");
    let tls = [flags.as_slice(), &["--server", "https://127.0.0.1:1"]].concat();
    assert!(server.run(&tls).failed(2).contains("publishers need an http:// address"));
}

#[test]
fn a_doctor_finds_nothing_wrong_with_a_server_and_much_with_another_page() {
    let server = ServeProcess::start(&["--heartbeat", "1s"]);
    let base = format!("http://{}", server.addr);
    let told = server.run(&["doctor", &base]).ok();
    for check in ["ok    content type", "ok    first bytes", "ok    heartbeat", "ok    delivery"] {
        assert!(told.contains(check), "{told}");
    }
    let page = server.run(&["doctor", &format!("{base}/health")]);
    assert_eq!(page.code, Some(1), "{page:?}");
    assert!(
        page.stdout.contains("bad   content type") && page.stdout.contains("fix: "),
        "{page:?}"
    );
    assert!(server.run(&["doctor"]).stdout.contains("open files"));
}

#[test]
fn a_doctor_tells_a_proxy_that_holds_streams_back_from_a_server_that_is_down() {
    let server = ServeProcess::start(&[]);
    for (held, silent) in [
        (Held::Whole, "bad   head of the answer: nothing came within 1 s"),
        (Held::Body, "bad   first bytes: nothing came within 1 s"),
    ] {
        let proxy = buffering_proxy(server.addr, held);
        let told = server.run(&["doctor", &format!("http://{proxy}/"), "--wait", "1s"]);
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(told.stdout.contains(silent), "{told:?}");
        let buffering = "nothing comes of a stream: a proxy holds it back";
        assert!(told.stdout.contains("bad   buffering") && told.stdout.contains(buffering));
        assert!(told.stdout.contains("proxy_buffering off"), "{told:?}");
    }

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let told = server.run(&["doctor", &url, "--wait", "1s"]);
    assert!(told.stdout.contains("warn  buffering: can't be told"), "{told:?}");
}

/// What a proxy holds back of a stream until it has more than it ever gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Whole,
    Body,
}

/// Passes everything on at once but event streams. Its threads end with their connections.
fn buffering_proxy(server: SocketAddr, held: Held) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(server) else { break };
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || {
                // Either side may break off.
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Both);
            });
            thread::spawn(move || pass_answers(upstream, client, held));
        }
    });
    addr
}

fn pass_answers(mut upstream: TcpStream, mut client: TcpStream, held: Held) {
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(bytes @ 1..) = upstream.read(&mut piece) {
        answer.extend_from_slice(&piece[..bytes]);
        // A head may come in pieces.
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        if head.contains("text/event-stream") {
            if held == Held::Body {
                let _ = client.write_all(&answer[..end + 4]);
            }
            // As a buffer that never fills.
            let _ = std::io::copy(&mut upstream, &mut std::io::sink());
            break;
        }
        // The doctor opens a stream on a connection of its own, so the rest of this one is none.
        if client.write_all(&answer).is_ok() {
            let _ = std::io::copy(&mut upstream, &mut client);
        }
        break;
    }
    let _ = client.shutdown(Shutdown::Both);
}
