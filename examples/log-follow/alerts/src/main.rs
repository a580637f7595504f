//! Reads a log's topic and publishes each line that tells of an error to another topic: each once and in order, however
//! often this program is killed and started again.
//!
//! ```sh
//! cargo run -p longwave-example-alerts -- app alerts app.cursor
//! ```
//!
//! Two things make it so. The cursor file holds the id of the last line that is dealt with, and the next run goes on
//! behind it. And an alert's idempotency key is the id of its line, so that publishing again what was published just
//! before the kill changes nothing.
#![expect(clippy::print_stdout, reason = "what it prints is for the person who runs it")]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::Context;
use futures_util::StreamExt;
use longwave_client::{Client, Item, Message, Start};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(log), Some(alerts), Some(cursor)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        anyhow::bail!("usage: longwave-example-alerts LOG-TOPIC ALERTS-TOPIC CURSOR-FILE");
    };
    let server = env::var("LONGWAVE_SERVER").unwrap_or_else(|_| "http://127.0.0.1:4480".to_owned());
    forward_errors(&Client::new(server)?, &log, &alerts, &PathBuf::from(cursor)).await
}

/// Goes on until the log's topic ends.
async fn forward_errors(
    client: &Client,
    log: &str,
    alerts: &str,
    cursor: &Path,
) -> anyhow::Result<()> {
    let mut lines = client.subscribe([log]).start(read_cursor(cursor)?).stream()?;
    while let Some(item) = lines.next().await {
        match item? {
            Item::Event(event) => {
                let id = event.id.context("this server's events have no ids")?;
                if let Some(line) = event.data.as_text().filter(|line| line.contains("ERROR")) {
                    let alert = Message::text(line).event_type("alert");
                    client.publish(alerts, alert).key(&id).send().await?;
                    println!("{line}");
                }
                write_cursor(cursor, &id)?;
            }
            Item::Gap(gap) => println!("-- some lines are no longer kept: {}", gap.reason),
            Item::Reconnecting(lost) => println!("-- connection lost, back in {:?}", lost.delay),
            _ => {}
        }
    }
    Ok(())
}

fn read_cursor(path: &Path) -> anyhow::Result<Start> {
    match fs::read_to_string(path) {
        Ok(id) => Ok(Start::After(id)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Start::First),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Writes beside the file and renames: a kill leaves the old cursor or the new one, never half of one.
fn write_cursor(path: &Path, id: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, id)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("can't write {}", path.display()))
}
