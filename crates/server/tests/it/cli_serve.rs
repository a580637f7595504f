//! `longwave serve`: its settings, its start and its end.

use std::io::Write as _;
use std::net::TcpStream;

use crate::support::process::{Running, ServeProcess, longwave, run};

#[test]
fn it_says_where_it_listens_and_what_to_try() {
    let server = ServeProcess::start(&[]);
    let expected =
        format!("longwave {}\nlistening on http://{}\n", env!("CARGO_PKG_VERSION"), server.addr);
    assert_eq!(server.banner, expected);
}

#[test]
fn it_goes_in_order_when_it_is_asked_to() {
    let mut server = ServeProcess::start(&[]);
    let id = server.run(&["publish", "t", "kept"]).ok();
    assert_eq!(server.terminate(), 0);
    server.kill_and_restart();
    assert!(server.run(&["info", "t"]).ok().contains(id.trim()));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = ServeProcess::start(&["--drain-timeout", "10m"]);
    let mut publisher = TcpStream::connect(server.addr).unwrap();
    let request = "POST /topics/t?lines HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                   Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n";
    publisher.write_all(request.as_bytes()).unwrap();
    server.run(&["tail", "--after", "first", "--count", "1", "t"]).ok();
    // Signals that come together count as one, so they are sent until there were two.
    let status = server.signal_until_it_goes();
    assert_eq!(status, 130, "the publish that is under way would have kept it for ten minutes");
}

#[test]
fn settings_come_from_flags_the_environment_and_a_file_in_this_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("l.toml");
    std::fs::write(&file, "open = true\n[delivery]\nheartbeat = '2s'\nretry = '4s'\n").unwrap();
    let mut command = longwave(&["settings", "--heartbeat", "9s"]);
    command.env("LONGWAVE_CONFIG", &file).env("LONGWAVE_RETRY", "5s");
    let told = run(command, b"").ok();
    let origin = |name: &str| {
        let line = told.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(origin("heartbeat"), "9s --heartbeat");
    assert_eq!(origin("retry"), "5s LONGWAVE_RETRY");
    assert_eq!(origin("open"), format!("true {}:1", file.display()));
    assert_eq!(origin("log"), "segment default");
}

#[test]
fn a_wrong_setting_is_refused_with_the_place_it_stands_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("l.toml");
    std::fs::write(&file, "\nhartbeat = '2s'\n").unwrap();
    let refused = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = longwave(&[["serve"].as_slice(), flags].concat());
        command.current_dir(dir.path()).envs(env.iter().copied());
        run(command, b"").failed(2)
    };
    for (told, words) in [
        (refused(&["--heartbeat", "soon"], &[]), "--heartbeat: \"soon\""),
        (refused(&[], &[("LONGWAVE_HEARTBEAT", "1")]), "LONGWAVE_HEARTBEAT: \"1\""),
        (refused(&["--config", "l.toml"], &[]), "l.toml:2: there is no setting \"hartbeat\""),
        (refused(&["--config", "none.toml"], &[]), "none.toml"),
        (refused(&["--listen", "0.0.0.0:0"], &[]), "refusing to listen on 0.0.0.0:0 (--listen)"),
        (refused(&["--log-level", "=,="], &[]), "--log-level"),
        (refused(&["--hearbeat", "1s"], &[]), "--heartbeat"),
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert!(!dir.path().join("longwave-data").exists(), "nothing was begun");
}

#[test]
fn it_says_what_it_proxies_and_where_the_streams_are() {
    let flags = ["serve", "--listen", "0", "--log", "memory"];
    let routes = ["--gateway", "/v1=http://127.0.0.1:9/base/", "--gateway", "/o=https://[::1]:9"];
    let server = Running::start(longwave(&[flags.as_slice(), &routes].concat()));
    assert!(server.line().starts_with("longwave "));
    let listening = server.line();
    let base = listening.strip_prefix("listening on ").unwrap();
    assert!(server.line().starts_with("keeping events "));
    for proxied in ["/v1 to http://127.0.0.1:9/base", "/o to https://[::1]:9"] {
        let expected = format!("proxying {base}{proxied}, streams at {base}/streams");
        assert_eq!(server.line(), expected);
    }
}

#[test]
fn a_wrong_route_is_refused_with_the_place_it_stands_at() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |flags: &[&str], text: &str| {
        std::fs::write(dir.path().join("l.toml"), text).unwrap();
        let mut command = longwave(&[["serve", "--config", "l.toml"].as_slice(), flags].concat());
        command.current_dir(dir.path()).env_remove("KEY");
        run(command, b"").failed(2)
    };
    let route = "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'http://127.0.0.1:4999'\n";
    for (told, words) in [
        (
            refused(&[], "[[gateway.routes]]\nprefix = '/v1'"),
            "l.toml:1: the route has no \"upstream\"",
        ),
        (refused(&[], &format!("{route}retries = 3")), "l.toml:4: there is no setting"),
        (
            refused(&[], &format!("{route}headers.add = {{ authorization = 'Bearer env:KEY' }}")),
            "l.toml:4: the header authorization takes the environment variable KEY, which is not set",
        ),
        (refused(&["--gateway", "http://host"], ""), "--gateway: \"http://host\" is not a value"),
        (refused(&["--gateway", "/topics=http://host"], ""), "belongs to the server itself"),
        (
            refused(&["--listen", "127.0.0.1:4999"], route),
            "the route /v1 (l.toml:2) leads to http://127.0.0.1:4999/, which is this server itself",
        ),
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert!(!dir.path().join("longwave-data").exists(), "nothing was begun");
}

#[test]
fn a_route_that_sends_keys_in_the_clear_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    // It ends at once, since that is no directory.
    let told = |upstream: &str| {
        let route = format!("/v1={upstream}");
        let flags =
            ["serve", "--listen", "0", "--data", file.to_str().unwrap(), "--gateway", &route];
        run(longwave(&flags), b"").failed(1)
    };
    let warning = "the route /v1 (--gateway) leads to http://api.example/ over plain http";
    let warned = told("http://api.example");
    assert!(warned.contains(warning), "{warned}");
    for upstream in ["https://api.example", "http://localhost:9"] {
        let silent = told(upstream);
        assert!(!silent.contains("plain http"), "{silent}");
    }
}

#[test]
fn a_secret_that_can_not_be_used_costs_the_server_that_was_to_be_taken_over_nothing() {
    let server = ServeProcess::start(&[]);
    let data = server.dir().join("data");
    std::fs::write(data.join("gateway.key"), "short").unwrap();
    let flags = ["serve", "--data", data.to_str().unwrap(), "--gateway", "/v1=http://127.0.0.1:9"];
    let listen = server.addr.to_string();
    let takeover = [flags.as_slice(), &["--listen", &listen, "--takeover"]].concat();
    let told = run(longwave(&takeover), b"").failed(1);
    assert!(told.contains("the gateway's secret") && told.contains("gateway.key"), "{told}");
    server.run(&["publish", "t", "still there"]).ok();
}

#[test]
fn routes_are_listed_with_the_settings_without_what_headers_hold() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("l.toml");
    let route = "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'https://host/v1'\n\
                 headers.add = { authorization = 'Bearer env:KEY', x-org = 's3cret' }\n";
    std::fs::write(&file, route).unwrap();
    let mut command = longwave(&["settings", "--config", file.to_str().unwrap()]);
    command.env("KEY", "s3cret");
    let told = run(command, b"").ok();
    let listed = |start: &str| told.lines().any(|line| line.starts_with(start));
    assert!(listed("/v1 upstream ") && listed("/v1 timeouts.first_byte "), "{told}");
    assert!(told.contains("authorization, x-org") && !told.contains("s3cret"), "{told}");
}

#[test]
fn a_directory_that_can_not_be_used_is_told_with_what_to_do() {
    let server = ServeProcess::start(&[]);
    let data = server.dir().join("data");
    let second = longwave(&["serve", "--listen", "0", "--data", data.to_str().unwrap()]);
    let told = run(second, b"").failed(1);
    assert!(told.contains("in use by another process") && told.contains("hint: "), "{told}");

    let file = server.dir().join("file");
    std::fs::write(&file, "mine").unwrap();
    let on_a_file = longwave(&["serve", "--listen", "0", "--data", file.to_str().unwrap()]);
    let told = run(on_a_file, b"").failed(1);
    assert!(told.contains("--data takes a directory"), "{told}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let server = ServeProcess::start(&[]);
    let listen = server.addr.to_string();
    let other = server.dir().join("other");
    let flags = ["serve", "--listen", &listen, "--data", other.to_str().unwrap()];
    let told = run(longwave(&flags), b"").failed(1);
    assert!(told.contains(&listen) && told.contains("is longwave running already?"), "{told}");
}

#[test]
fn a_memory_log_leaves_nothing_behind() {
    let server = ServeProcess::start(&["--log", "memory"]);
    server.run(&["publish", "t", "x"]).ok();
    assert!(!server.dir().join("data").exists());
}
