//! `longwave topics` and `longwave info`: what the server has, as a table for people or JSON for programs.

use clap::Args;
use longwave_client::{TopicInfo, TopicsError, TopicsQuery};

use super::failure::Failure;
use super::output::{counted, print};
use super::remote::{RemoteArgs, refusal_hint, with_hint};

/// Arguments of `longwave topics`.
#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    /// Only topics whose names start with this.
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
    /// Print a JSON line for each topic.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Arguments of `longwave info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The topic.
    topic: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Lists all topics, page by page, so that neither side ever holds more than one page.
pub(crate) async fn list(args: TopicsArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let mut query = TopicsQuery { prefix: args.prefix, ..TopicsQuery::default() };
    let mut is_first = true;
    loop {
        let page = client.topics(&query).await.map_err(|error| failure(&args.remote, error))?;
        let rows: Vec<[String; 5]> = page.topics.iter().map(row).collect();
        let text = match (args.json, is_first && !rows.is_empty()) {
            (true, _) => page.topics.iter().map(json_line).collect::<Result<String, _>>()?,
            (false, true) => table(&[&[HEADER.map(str::to_owned)], rows.as_slice()].concat()),
            (false, false) => table(&rows),
        };
        print(text.as_bytes())?;
        is_first = false;
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

pub(crate) async fn info(args: InfoArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let info =
        client.topic_info(&args.topic).await.map_err(|error| failure(&args.remote, error))?;
    let text = if args.json { json_line(&info)? } else { describe(&info) };
    Ok(print(text.as_bytes())?)
}

fn failure(remote: &RemoteArgs, error: TopicsError) -> Failure {
    let hint = match &error {
        TopicsError::NoAnswer { .. } => Some(remote.unreachable_hint()),
        TopicsError::Refused(refusal) if refusal.code.as_deref() == Some("topic-not-found") => {
            Some("`longwave topics` lists those there are".to_owned())
        }
        TopicsError::Refused(refusal) => refusal_hint(refusal),
        TopicsError::Answer { .. } => Some("check --server and LONGWAVE_SERVER".to_owned()),
        _ => None,
    };
    with_hint(Failure::new(error), hint)
}

fn json_line(info: &TopicInfo) -> serde_json::Result<String> {
    Ok(serde_json::to_string(info)? + "\n")
}

fn row(info: &TopicInfo) -> [String; 5] {
    [
        info.topic.clone(),
        info.events.to_string(),
        human_bytes(info.bytes),
        info.last.clone().unwrap_or_else(|| "-".to_owned()),
        match &info.end {
            Some(end) => format!("ended ({})", end.reason),
            None => counted(info.subscribers, "subscriber"),
        },
    ]
}

fn describe(info: &TopicInfo) -> String {
    let none = || "-".to_owned();
    let mut rows = vec![
        ("topic", info.topic.clone()),
        ("events", info.events.to_string()),
        ("size", human_bytes(info.bytes)),
        ("first", info.first.clone().unwrap_or_else(none)),
        ("last", info.last.clone().unwrap_or_else(none)),
        ("subscribers", info.subscribers.to_string()),
    ];
    if let Some(end) = &info.end {
        rows.push(("ended", format!("{} at {} ({})", end.reason, end.time, end.id)));
    }
    if let Some(settings) = &info.settings {
        let limits = [
            ("max age", settings.max_age.clone()),
            ("max events", settings.max_events.map(|events| events.to_string())),
            ("max bytes", settings.max_bytes.map(human_bytes)),
            ("ttl after end", settings.ttl.clone()),
        ];
        rows.extend(limits.into_iter().filter_map(|(name, value)| Some((name, value?))));
        rows.push(("durability", format!("{:?}", settings.durability).to_ascii_lowercase()));
    }
    table(&rows.into_iter().map(|(name, value)| [name.to_owned(), value]).collect::<Vec<_>>())
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Bytes in the largest unit that leaves a number of at least 1.
pub(crate) fn human_bytes(bytes: u64) -> String {
    let mut rest = bytes;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if rest < 10 * 1024 {
            break;
        }
        rest /= 1024;
        unit = larger;
    }
    format!("{rest} {unit}")
}

const HEADER: [&str; 5] = ["TOPIC", "EVENTS", "SIZE", "LAST", "STATE"];

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn info() -> TopicInfo {
        serde_json::from_str(
            r#"{"topic":"jobs/7","first":"7kq2f-1","last":"7kq2f-9","events":9,"bytes":20480,"subscribers":0,
                "end":{"id":"7kq2f-9","time":"2026-01-31T12:00:00Z","reason":"done"},
                "settings":{"max_age":"1d","max_events":null,"max_bytes":1048576,"ttl":null,"durability":"disk"}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_topic_is_described_line_by_line() {
        expect![[r#"
            topic        jobs/7
            events       9
            size         20 KiB
            first        7kq2f-1
            last         7kq2f-9
            subscribers  0
            ended        done at 2026-01-31T12:00:00Z (7kq2f-9)
            max age      1d
            max bytes    1024 KiB
            durability   disk
        "#]]
        .assert_eq(&describe(&info()));
    }

    #[test]
    fn a_table_lines_up() {
        expect![[r#"
            TOPIC   EVENTS  SIZE    LAST     STATE
            jobs/7  9       20 KiB  7kq2f-9  ended (done)
        "#]]
        .assert_eq(&table(&[HEADER.map(str::to_owned), row(&info())]));
    }

    #[test]
    fn a_topic_that_runs_tells_how_many_follow_it() {
        let with = |subscribers| {
            let mut info = info();
            info.end = None;
            info.subscribers = subscribers;
            row(&info)[4].clone()
        };
        assert_eq!([0, 1, 2].map(with), ["0 subscribers", "1 subscriber", "2 subscribers"]);
    }

    #[test]
    fn bytes_are_rounded_to_a_unit() {
        let texts = [0, 10_239, 10_240, 12_345_678, u64::MAX].map(human_bytes);
        assert_eq!(texts, ["0 B", "10239 B", "10 KiB", "11 MiB", "16777215 TiB"]);
    }
}
