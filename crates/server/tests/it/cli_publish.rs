//! `longwave publish` and `longwave tail` one event at a time, and what they say when it can't be.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::process::{Running, ServeProcess, longwave, run};

/// All of an ended topic, as JSON.
fn events(server: &ServeProcess, topic: &str) -> Vec<Value> {
    let lines = server.run(&["tail", "--json", "--after", "first", topic]).ok();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_event_comes_from_an_argument_from_standard_input_or_from_a_file() {
    let server = ServeProcess::start(&[]);
    let file = server.dir().join("file");
    std::fs::write(&file, "in a\nfile\n").unwrap();
    let id = server.run(&["publish", "t", "an argument"]).ok();
    server.run_with(&["publish", "t"], b"from a pipe\n").ok();
    server.run(&["publish", "t", ""]).ok();
    server.run_with(&["publish", "t", "-"], b"\n").ok();
    server.run(&["publish", "t", "--file", file.to_str().unwrap()]).ok();
    server.run_with(&["publish", "t"], b"\xff\x00").ok();
    server.run(&["publish", "t", "{\"a\": [1, 2]}", "--json", "--type", "price"]).ok();
    server.run(&["publish", "t", "last", "--end=cancelled"]).ok();

    let events = events(&server, "t");
    let data: Vec<&Value> = events.iter().map(|event| &event["data"]).collect();
    let expected = serde_json::json!([
        "an argument", "from a pipe", "", "", "in a\nfile\n", "/wA=", {"a": [1, 2]}, "last"
    ]);
    assert_eq!(serde_json::json!(data), expected);
    assert_eq!(events[0]["id"], id.trim());
    assert_eq!(events[5]["encoding"], "base64");
    assert_eq!(events[6]["type"], "price");
    assert!(server.run(&["info", "t"]).ok().contains("ended        cancelled"));
}

#[test]
fn an_empty_standard_input_publishes_nothing_and_says_how_to_publish_an_empty_event() {
    let server = ServeProcess::start(&[]);
    for arguments in [["publish", "t"].as_slice(), &["publish", "t", "-"]] {
        let told = server.run_with(arguments, b"").failed(1);
        assert!(told.contains("standard input is empty: nothing was published"), "{told}");
        assert!(told.contains("`longwave publish t ''` publishes an empty event"), "{told}");
    }
    assert_eq!(server.run(&["topics"]).ok(), "", "nothing is published");
}

#[test]
fn a_key_makes_a_second_publish_a_duplicate() {
    let server = ServeProcess::start(&[]);
    let arguments = ["publish", "--key", "order-42", "t", "x"];
    assert_eq!(server.run(&arguments).ok(), server.run(&arguments).ok());
    server.run(&["publish", "--end", "t"]).ok();
    assert_eq!(events(&server, "t").len(), 1);
}

#[test]
fn several_topics_are_told_apart_and_types_are_chosen() {
    let server = ServeProcess::start(&[]);
    for (topic, event_type) in [("a/1", "x"), ("a/2", "y"), ("a/1", "x"), ("b", "x")] {
        server.run(&["publish", topic, topic, "--type", event_type]).ok();
    }
    let tail = ["tail", "--after", "first", "--count", "3", "a/*", "b"];
    server.run(&["publish", "a/3", "a/3", "--type", "z"]).ok();
    let types = ["tail", "--after", "first", "--type", "y", "--count", "1", "a/*"];
    let listed = ["tail", "--after", "first", "--type", "y,z", "--count", "2", "a/*"];
    let repeated =
        ["tail", "--after", "first", "--type", "y", "--type", "z", "--count", "2", "a/*"];
    assert_eq!(server.run(&tail).ok(), "==> a/1 <==\na/1\n==> a/2 <==\na/2\n==> a/1 <==\na/1\n");
    assert_eq!(server.run(&types).ok(), "==> a/2 <==\na/2\n");
    for both in [listed.as_slice(), &repeated] {
        assert_eq!(server.run(both).ok(), "==> a/2 <==\na/2\n==> a/3 <==\na/3\n");
    }
    assert_eq!(server.run(&["tail", "--last", "1", "--count", "1", "a/1"]).ok(), "a/1\n");
}

#[test]
fn a_tail_of_a_topic_that_has_ended_says_so_and_how_to_read_what_is_left() {
    let server = ServeProcess::start(&[]);
    server.run(&["publish", "t", "one"]).ok();
    server.run(&["publish", "t", "two", "--end=cancelled"]).ok();
    server.run(&["publish", "empty", "--end"]).ok();
    let told = |arguments: &[&str]| {
        let done = server.run(arguments);
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""), "{done:?}");
        done.stderr
    };
    assert_eq!(
        told(&["tail", "t"]),
        "t has ended (cancelled); `longwave tail --after first t` reads the 2 events that it retains\n"
    );
    assert_eq!(told(&["tail", "empty"]), "empty has ended (done), and nothing of it is retained\n");
    let url = format!("http://{}/topics/t", server.addr);
    assert_eq!(
        told(&["tail", &url]),
        format!("{url} has ended: the server has nothing more to send\n")
    );

    let whole = server.run(&["tail", "--after", "first", "t"]);
    assert_eq!(whole.stderr, "the topic has ended (cancelled)\n", "told once");
    assert_eq!(whole.ok(), "one\ntwo\n");
}

#[test]
fn a_tail_ends_in_peace_when_its_reader_has_enough() {
    let server = ServeProcess::start(&[]);
    server.run(&["publish", "t", "one"]).ok();
    let mut tail = server
        .command(&["tail", "--after", "first", "t"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(tail.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    server.run(&["publish", "t", "two"]).ok();
    let output = tail.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn any_event_stream_is_followed_by_its_url() {
    let server = ServeProcess::start(&[]);
    server.run(&["publish", "t", "one"]).ok();
    let url = format!("http://{}/topics/t?after=first", server.addr);
    let tail = Running::start(longwave(&["tail", &url]));
    assert_eq!(tail.line(), "one");
    server.run(&["publish", "t", "two", "--end"]).ok();
    assert_eq!(tail.line(), "two");
    assert_eq!(tail.finish(), Some(0));

    server.run_with(&["publish", "b"], b"\xff").ok();
    let url = format!("http://{}/topics/b?after=first", server.addr);
    let told = run(longwave(&["tail", "--json", "--count", "1", &url]), b"").ok();
    let event: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&event["data"], &event["encoding"]), (&"/w==".into(), &"base64".into()));
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    for arguments in [
        ["publish", "t", "x"].as_slice(),
        &["tail", "t"],
        &["topics"],
        &["info", "t"],
        &["bench", "--duration", "1s"],
        &["bench", "--duration", "1s", "--subscribers", "0", "--publishers", "2"],
    ] {
        let mut command = longwave(arguments);
        command.env("LONGWAVE_SERVER", "http://127.0.0.1:1");
        let told = run(command, b"").failed(1);
        assert!(told.contains("Connection refused"), "{arguments:?}: {told}");
        assert!(told.contains("hint: is a Longwave server at http://127.0.0.1:1?"), "{told}");
    }
}

#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    let server = ServeProcess::start(&["--event-size", "1KiB"]);
    server.run(&["publish", "ended", "--end"]).ok();
    let large = "x".repeat(1025);
    for (arguments, code, words) in [
        (["publish", "ended", "x"].as_slice(), 1, "topic-ended"),
        (&["publish", "t", &large], 1, "event-too-large"),
        (&["publish", "a//b", "x"], 1, "can't be a topic"),
        (&["publish", "t", "{", "--json"], 1, "is not JSON"),
        (&["publish", "t", "x", "--end=later"], 2, "expected done"),
        (&["publish", "t", "x", "--type", "longwave.end"], 1, "event-type-reserved"),
        (&["tail", "a//b"], 2, "can't be a topic"),
        (&["tail", "http://127.0.0.1:1/x", "t"], 2, "a URL is followed alone"),
        (&["tail", "--after", "nonsense", "t"], 1, "id-invalid"),
        (&["info", "nope"], 1, "topic-not-found"),
        (&["topics", "--server", "nowhere"], 2, "not the address of a server"),
    ] {
        let told = server.run(arguments).failed(code);
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    let told = server.run_with(&["publish", "t", "--lines", "--json"], b"1\n{\n3\n").failed(1);
    assert!(told.contains("line 2 is not JSON"), "{told}");
}
