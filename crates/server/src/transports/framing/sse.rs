//! Server-Sent Events (WHATWG HTML, section 9.2) as a plain `EventSource` understands them: [`SseFraming`].
//!
//! The lines themselves are `longwave-sse`'s. What is decided here is which fields an event has.

use std::time::Duration;

use longwave_core::{
    DataFormat, EndReason, Epoch, Event, EventId, EventType, FeedGap, FeedItem, Message, Payload,
    SelectorSet,
};
use longwave_sse::{FieldName, FieldValue, Frame, encode_comment, encode_retry};

use crate::transports::read_request::DataShape;
use crate::transports::wire::{self, Stamp};

/// What the events of one subscription look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SseFraming {
    epoch: Epoch,
    layout: Layout,
}

/// Where a reader finds the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// It knows: there is only one.
    OneTopic,
    /// In a line `topic:`, which `EventSource` ignores.
    SeveralTopics,
    /// In the envelope that is the data.
    Envelope,
}

impl SseFraming {
    pub(super) fn new(epoch: Epoch, selectors: &SelectorSet, data_shape: DataShape) -> SseFraming {
        let layout = match (data_shape, selectors.as_topic()) {
            (DataShape::Envelope, _) => Layout::Envelope,
            (DataShape::Plain, Some(_)) => Layout::OneTopic,
            (DataShape::Plain, None) => Layout::SeveralTopics,
        };
        SseFraming { epoch, layout }
    }

    pub(super) fn write_item(&self, out: &mut Vec<u8>, item: &FeedItem) {
        match item {
            FeedItem::Gap(gap) => write_gap(out, gap),
            FeedItem::Event(event) => match &event.payload {
                Payload::Message(message) => self.write_message(out, event, message),
                Payload::End(reason) => self.write_end(out, event, *reason),
            },
        }
    }

    fn write_message(&self, out: &mut Vec<u8>, event: &Event, message: &Message) {
        let event_type = message.event_type.as_ref().map(EventType::as_str);
        match self.layout {
            Layout::Envelope => {
                let mut envelope = Vec::with_capacity(message.data.len() + ENVELOPE_BYTES);
                wire::write_envelope(&mut envelope, self.stamp(event), message);
                // The type is in the envelope. Left out here, so that one `onmessage` sees events of all types.
                self.write(out, event, None, Encoding::Plain, &envelope);
            }
            _ if message.format == DataFormat::Binary => {
                let data = wire::base64(&message.data);
                self.write(out, event, event_type, Encoding::Base64, data.as_bytes());
            }
            _ => self.write(out, event, event_type, Encoding::Plain, &message.data),
        }
    }

    fn write_end(&self, out: &mut Vec<u8>, event: &Event, reason: EndReason) {
        let mut data = Vec::new();
        match self.layout {
            Layout::Envelope => wire::write_end(&mut data, self.stamp(event), reason),
            Layout::OneTopic | Layout::SeveralTopics => {
                data.extend_from_slice(format!("{{\"reason\":\"{reason}\"}}").as_bytes());
            }
        }
        self.write(out, event, Some(END), Encoding::Plain, &data);
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        event: &Event,
        event_type: Option<&str>,
        encoding: Encoding,
        data: &[u8],
    ) {
        let mut extensions = Vec::new();
        if let Layout::SeveralTopics = self.layout {
            extensions.extend(value(event.topic.as_str()).map(|topic| (TOPIC, topic)));
        }
        if let Encoding::Base64 = encoding {
            extensions.extend(value("base64").map(|base64| (ENCODING, base64)));
        }
        let id = EventId { epoch: self.epoch, seq: event.seq }.text();
        let frame = typed(frame(id.as_str()), event_type).extensions(&extensions).data(data);
        frame.encode(out);
    }

    fn stamp<'a>(&self, event: &'a Event) -> Stamp<'a> {
        Stamp::new(self.epoch, event.seq, &event.topic, event.time)
    }
}

/// How the bytes of `data:` are to be read.
#[derive(Clone, Copy)]
enum Encoding {
    Plain,
    Base64,
}

/// A line `retry:` without a blank line, which known clients would take for an event, and a comment, so that whatever
/// lies between passes something on at once.
pub(super) fn write_opening(out: &mut Vec<u8>, retry: Duration) {
    encode_retry(out, retry);
    write_heartbeat(out);
}

/// No blank line behind it: known SDK parsers crash on a blank line that follows an event with an id.
pub(super) fn write_heartbeat(out: &mut Vec<u8>) {
    encode_comment(out, "");
}

pub(super) fn write_farewell(out: &mut Vec<u8>, retry: Duration) {
    encode_retry(out, retry);
}

/// The id of a gap is the position behind which the stream goes on, so that whoever saw the gap is not told twice.
fn write_gap(out: &mut Vec<u8>, gap: &FeedGap) {
    let mut data = Vec::new();
    wire::write_gap(&mut data, gap);
    typed(frame(gap.resumed.text().as_str()), Some(GAP)).data(&data).encode(out);
}

fn frame(id: &str) -> Frame<'_> {
    // Ids are letters, digits and a hyphen; one that can't be written would be left out.
    longwave_sse::EventId::new(id).map_or(Frame::new(), |id| Frame::new().id(id))
}

fn typed<'a>(frame: Frame<'a>, event_type: Option<&'a str>) -> Frame<'a> {
    event_type.and_then(value).map_or(frame, |event_type| frame.event_type(event_type))
}

/// Names and types were checked to hold no line break when they came in; one that does would be left out.
fn value(text: &str) -> Option<FieldValue<'_>> {
    FieldValue::new(text).ok()
}

const fn name(text: &'static str) -> FieldName<'static> {
    match FieldName::new(text) {
        Ok(name) => name,
        Err(_) => panic!("not a field's name"),
    }
}

const TOPIC: FieldName<'static> = name("topic");
const ENCODING: FieldName<'static> = name("encoding");
/// The type of the event that stands for events which are lost.
const GAP: &str = "longwave.gap";
/// The type of a topic's last event.
const END: &str = "longwave.end";
/// About what an envelope takes around its data.
const ENVELOPE_BYTES: usize = 160;
