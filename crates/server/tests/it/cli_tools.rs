//! `topics`, `info`, `doctor` and `bench` against a real server, and the help of every command.

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
