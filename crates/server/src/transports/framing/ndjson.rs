//! Newline-delimited JSON: one object a line.
//!
//! A line with `data` is an event's envelope. A line with `gap`, `end` or `retry` is a word of the server's own.

use std::time::Duration;

use longwave_core::{Epoch, FeedItem, Payload};

use crate::transports::wire::{self, Stamp};

/// The line of an item.
pub(super) fn write_item(out: &mut Vec<u8>, epoch: Epoch, item: &FeedItem) {
    write_object(out, epoch, item);
    out.push(b'\n');
}

/// A blank line, which is white space to JSON parsers that read value after value.
pub(super) fn write_heartbeat(out: &mut Vec<u8>) {
    out.push(b'\n');
}

pub(super) fn write_farewell(out: &mut Vec<u8>, retry: Duration) {
    out.extend_from_slice(format!("{{\"retry\":{}}}\n", retry.as_millis()).as_bytes());
}

/// The object of an item, without a line break in it or behind it. WebSocket sends it as a message.
pub(crate) fn write_object(out: &mut Vec<u8>, epoch: Epoch, item: &FeedItem) {
    match item {
        FeedItem::Gap(gap) => {
            out.extend_from_slice(b"{\"gap\":");
            wire::write_gap(out, gap);
            out.push(b'}');
        }
        FeedItem::Event(event) => {
            let stamp = Stamp::new(epoch, event.seq, &event.topic, event.time);
            match &event.payload {
                Payload::Message(message) => wire::write_envelope(out, stamp, message),
                Payload::End(reason) => {
                    out.extend_from_slice(b"{\"end\":");
                    wire::write_end(out, stamp, *reason);
                    out.push(b'}');
                }
            }
        }
    }
}
