//! A server that runs out of file descriptors. It needs a process of its own, whose limit is low.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{RawClient, within};

#[tokio::test]
async fn a_server_without_file_descriptors_accepts_again_when_it_has_some() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Command::new("sh")
        .args(["-c", "ulimit -n 48 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_longwave")])
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut stderr = BufReader::new(server.stderr.take().unwrap()).lines();
    let addr = within(async {
        loop {
            let line = tokio::select! {
                line = stdout.next_line() => line.unwrap(),
                line = stderr.next_line() => line.unwrap(),
            };
            let line = line.expect("the server went down");
            if let Some((_, addr)) = line.split_once("listening on http://") {
                return addr.trim().parse().unwrap();
            }
        }
    })
    .await;
    // The kernel completes these whether or not the server can accept them.
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(RawClient::connect(addr).await);
    }
    within(async {
        while !stderr.next_line().await.unwrap().unwrap().contains("can't accept connections") {}
    })
    .await;
    drop(clients);
    let mut client = RawClient::connect(addr).await;
    client.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    within(server.kill()).await.unwrap();
}
