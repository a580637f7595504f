//! A log file followed into a topic, and out of it again, while the server is killed: each line once, in order.

use crate::support::process::{Running, ServeProcess};

const FAST: [&str; 4] = ["--retry", "100ms", "--retry-jitter", "50ms"];

#[test]
fn every_followed_line_arrives_once_and_in_order_though_the_server_is_killed() {
    let mut server = ServeProcess::start(&FAST);
    let tail = Running::start(server.command(&["tail", "--after", "first", "app"]));
    let mut publish = Running::start(server.command(&["publish", "--lines", "app"]));
    publish.write("line 1\n");
    assert_eq!(tail.line(), "line 1");
    let mut number = 1;
    for _ in 0..6 {
        for _ in 0..200 {
            number += 1;
            publish.write(&format!("line {number}\n"));
        }
        // Some of the lines are acknowledged by now, some under way, and some wait.
        server.kill_and_restart();
    }
    for expected in 2..=number {
        assert_eq!(tail.line(), format!("line {expected}"));
    }
    assert_eq!(publish.finish(), Some(0));
    server.run(&["publish", "--end", "app"]).ok();
    assert_eq!(tail.finish(), Some(0), "nothing but the end came behind the last line");
}

#[test]
fn a_line_is_seen_as_soon_as_it_is_written() {
    let server = ServeProcess::start(&[]);
    let tail = Running::start(server.command(&["tail", "--after", "first", "app"]));
    let mut publish = Running::start(server.command(&["publish", "--lines", "app"]));
    for line in ["one", "", "three \u{fc}"] {
        publish.write(&format!("{line}\n"));
        assert_eq!(tail.line(), line);
    }
    publish.write("without an end");
    assert_eq!(publish.finish(), Some(0));
    assert_eq!(tail.line(), "without an end");
}

#[test]
fn lines_wait_for_a_server_that_is_not_there_yet() {
    let mut server = ServeProcess::start(&FAST);
    let mut publish = Running::start(server.command(&["publish", "--lines", "app"]));
    publish.write("before\n");
    server.kill_and_restart();
    publish.write("behind\n");
    assert_eq!(publish.finish(), Some(0));
    assert_eq!(
        server.run(&["tail", "--after", "first", "--count", "2", "app"]).ok(),
        "before\nbehind\n"
    );
}

#[test]
fn lines_that_were_published_under_a_key_are_not_published_again() {
    let mut server = ServeProcess::start(&FAST);
    let arguments = ["publish", "--lines", "--key", "import", "app"];
    server.run_with(&arguments, b"a\nb\n").ok();
    server.kill_and_restart();
    server.run_with(&arguments, b"a\nb\nc\n").ok();
    assert_eq!(server.run(&["tail", "--after", "first", "--count", "3", "app"]).ok(), "a\nb\nc\n");
    assert!(server.run(&["info", "app"]).ok().contains("events       3\n"));
}

#[test]
fn lines_fit_a_server_with_tight_limits() {
    let server = ServeProcess::start(&["--batch-events", "3", "--batch-size", "1KiB"]);
    let lines: String = (1..=500).map(|number| format!("line {number}\n")).collect();
    server.run_with(&["publish", "--lines", "--end", "app"], lines.as_bytes()).ok();
    assert_eq!(server.run(&["tail", "--after", "first", "app"]).ok(), lines);
}
