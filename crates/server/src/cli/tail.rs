//! `longwave tail`: prints events as they come, through lost connections and restarts of the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use futures_util::StreamExt as _;
use longwave_client::{
    Client, Data, End, Event, EventStream, Framing, Item, LossCause, Start, SubscribeError,
    TopicInfo, Url,
};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{counted, print, state};
use super::remote::RemoteArgs;

/// Arguments of `longwave tail`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwave tail news\n  longwave tail --last 10 'orders/*' 'jobs/**'\n  longwave tail --json news | jq .data\n  longwave tail https://example.com/events"
)]
pub(crate) struct TailArgs {
    /// Topics, selectors such as `orders/*` and `jobs/**`, or the full URL of any server's event stream.
    #[arg(required = true, value_name = "TOPIC|URL")]
    topics: Vec<String>,
    /// Start behind the event with this id, or at the first that is retained.
    #[arg(long, value_name = "ID|first", group = "start")]
    after: Option<String>,
    /// Start with the newest so many events.
    #[arg(long, value_name = "N", group = "start")]
    last: Option<u64>,
    /// Start with events of this age, such as 10m, or of this time, as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "AGE|TIME", group = "start")]
    since: Option<String>,
    /// Only events of these types; repeat it, or set them apart with commas.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Print a JSON line for each event, with id, topic, type, time and data.
    #[arg(long)]
    json: bool,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: TailArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let mut stream = args.stream(&client)?;
    let mut shown = 0;
    let mut connected = Connected::Never;
    let mut last_topic = None;
    let mut ending = Ending::Untold;
    while args.count.is_none_or(|count| shown < count) {
        // Without an end in the stream it is the answer 204: there is nothing to come.
        let Some(next) = stream.next().await else {
            if ending == Ending::Untold {
                args.tell_ended(&client).await;
            }
            break;
        };
        match next.map_err(|error| args.remote.subscribe_failure(error))? {
            Item::Event(event) => {
                print(&args.render(&event, &mut last_topic))?;
                shown += 1;
            }
            Item::Open => {
                if connected == Connected::Lost {
                    state("connected again");
                }
                connected = Connected::Now;
            }
            Item::Reconnecting(lost) => {
                if connected == Connected::Never
                    && let LossCause::Unreachable(_) = lost.cause
                {
                    let message = format!("can't connect to {}: {}", args.place(), lost.cause);
                    return Err(Failure::message(message).hint(args.remote.unreachable_hint()));
                }
                // Behind an end the server is asked at once whether that was all: nothing to tell.
                if lost.delay.is_zero() {
                    continue;
                }
                connected = Connected::Lost;
                state(format_args!("{}; trying again in {:.1?}", lost.cause, lost.delay));
            }
            Item::Gap(gap) => {
                let after = gap.after.as_deref().unwrap_or("the start");
                state(format_args!("events behind {after} are gone ({})", gap.reason));
            }
            Item::End(end) => {
                ending = Ending::Told;
                state(ended(&end));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a word names a server without saying so: `localhost:4480/streams/…`. No topic is written like that by anybody.
fn is_address(word: &str) -> bool {
    let Some((host, rest)) = word.split_once(':') else { return false };
    let port = rest.split('/').next().unwrap_or_default();
    !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() && rest.contains('/')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connected {
    Never,
    Now,
    Lost,
}

/// Whether the user knows why nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Untold,
    Told,
}

impl TailArgs {
    fn stream(&self, client: &Client) -> Result<EventStream, Failure> {
        let url = match self.topics.as_slice() {
            [only] => url(only),
            topics if topics.iter().any(|topic| url(topic).is_some()) => {
                return Err(Failure::usage(anyhow::anyhow!("a URL is followed alone"))
                    .hint("run `longwave tail` once for each URL"));
            }
            _ => None,
        };
        if let Some(address) = self.topics.iter().find(|topic| is_address(topic)) {
            return Err(Failure::usage(anyhow::anyhow!("{address} looks like an address"))
                .hint(format!("write it as a URL: longwave tail http://{address}")));
        }
        let is_url = url.is_some();
        let mut subscribe = match url {
            Some(url) => client.follow(url),
            None => client.subscribe(&self.topics),
        };
        subscribe = subscribe.start(self.start()).event_types(&self.types);
        if self.json && !is_url {
            subscribe = subscribe.framing(Framing::Envelope);
        }
        subscribe.stream().map_err(|error| match error {
            SubscribeError::Topic(_) => Failure::usage(error),
            error => self.remote.subscribe_failure(error),
        })
    }

    fn start(&self) -> Start {
        match (&self.after, self.last, &self.since) {
            (Some(after), ..) if after == "first" => Start::First,
            (Some(after), ..) => Start::After(after.clone()),
            (_, Some(last), _) => Start::Last(last),
            (.., Some(since)) => Start::Since(since.clone()),
            _ => Start::Now,
        }
    }

    /// Says that what was asked for had ended before, why if the server tells, and how to read what is left of it.
    async fn tell_ended(&self, client: &Client) {
        if let [only] = self.topics.as_slice()
            && url(only).is_some()
        {
            return state(format_args!("{only} has ended: the server has nothing more to send"));
        }
        for topic in &self.topics {
            // The stream itself said that it has ended: without more to tell, that is what there is to tell.
            let info = client.topic_info(topic).await.ok();
            state(ended_before(topic, info.as_ref(), &self.start()));
        }
    }

    /// Where the events come from, for people.
    fn place(&self) -> &str {
        match self.topics.as_slice() {
            [only] if url(only).is_some() => only,
            _ => &self.remote.server,
        }
    }

    /// An event as it is printed, line end included. `last_topic` is that of the event before.
    fn render(&self, event: &Event, last_topic: &mut Option<String>) -> Vec<u8> {
        if self.json {
            return json_line(event);
        }
        let mut line = Vec::new();
        // As `tail` of several files does.
        if event.topic.is_some() && event.topic != *last_topic {
            let topic = event.topic.as_deref().unwrap_or_default();
            line.extend_from_slice(format!("==> {topic} <==\n").as_bytes());
            last_topic.clone_from(&event.topic);
        }
        line.extend_from_slice(event.data.as_bytes());
        line.push(b'\n');
        line
    }
}

/// The server's envelope as it came; for a server that has none, one made of what it said.
fn json_line(event: &Event) -> Vec<u8> {
    let is_envelope = |text: &&str| {
        matches!(serde_json::from_str(text), Ok(Value::Object(object))
            if object.contains_key("data") && object.get("id").and_then(Value::as_str) == event.id.as_deref())
    };
    let line = match event.data.as_text().filter(is_envelope) {
        Some(envelope) => envelope.replace('\n', " "),
        None => {
            let (data, encoding) = match &event.data {
                Data::Text(text) => (text.clone(), None),
                Data::Binary(bytes) => (BASE64.encode(bytes), Some("base64")),
            };
            let mut envelope = json!({
                "id": event.id,
                "topic": event.topic,
                "type": event.event_type,
                "data": data,
            });
            if let (Some(encoding), Value::Object(envelope)) = (encoding, &mut envelope) {
                envelope.insert("encoding".to_owned(), encoding.into());
            }
            envelope.to_string()
        }
    };
    (line + "\n").into_bytes()
}

fn ended(end: &End) -> String {
    match &end.topic {
        Some(topic) => format!("{topic} has ended ({})", end.reason),
        None => format!("the topic has ended ({})", end.reason),
    }
}

/// What to tell of a topic that had ended before it was asked for.
fn ended_before(topic: &str, info: Option<&TopicInfo>, start: &Start) -> String {
    let end = info.and_then(|info| info.end.as_ref());
    let reason = end.map(|end| format!(" ({})", end.reason)).unwrap_or_default();
    let mut text = format!("{topic} has ended{reason}");
    // The end is counted too and has no data.
    let retained = info.map(|info| info.events.saturating_sub(1));
    match retained {
        Some(0) => text.push_str(", and nothing of it is retained"),
        _ if *start == Start::First => {}
        Some(events) => text.push_str(&format!(
            "; `longwave tail --after first {topic}` reads the {} that it retains",
            counted(events, "event")
        )),
        None => {
            text.push_str(&format!("; `longwave tail --after first {topic}` reads what it retains"))
        }
    }
    text
}

fn url(text: &str) -> Option<Url> {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    is_url.then(|| Url::parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_scheme_is_no_topic() {
        for word in ["localhost:4480/streams/x", "127.0.0.1:80/", "example.com:443/events"] {
            assert!(is_address(word), "{word}");
        }
        for word in ["news", "user:42", "orders/42:1/x", "https://example.com/events", "a:b/c"] {
            assert!(!is_address(word), "{word}");
        }
    }
}
