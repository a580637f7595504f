//! A request that is written once and then only stamped: what publishing costs the load generator is a `write`.
//!
//! An event's data is `{"pad":"xxx…","at":"0000000000000000~"}`: valid JSON, and text on one line, so that every peer
//! takes it as it is. The digits are a time in nanoseconds. [`MARKER`] stands nowhere else in what servers send, so
//! whoever reads counts events by counting it, however they are framed or cut. Read [`Template`].

use anyhow::Context as _;

/// A publish request with places for a time and, where there are many topics, for a topic's number.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    stamp_at: usize,
    number_at: Option<usize>,
}

impl Template {
    /// A template of a whole request, body included. [`NUMBER`] in it is where the topic's number goes.
    ///
    /// # Errors
    /// Where the body is not one of [`event_data`].
    pub fn new(request: &[u8]) -> anyhow::Result<Template> {
        let marker = memchr::memrchr(MARKER, request).context("a request without an event")?;
        let stamp_at = marker.checked_sub(STAMP_DIGITS).context("an event without a time")?;
        let number_at = memchr::memmem::find(request, NUMBER.as_bytes());
        Ok(Template { bytes: request.to_vec(), stamp_at, number_at })
    }

    /// Puts a time in.
    pub fn stamp(&mut self, nanoseconds: u64) {
        write_digits(&mut self.bytes, self.stamp_at, STAMP_DIGITS, nanoseconds);
    }

    /// Puts a topic's number in.
    pub fn number(&mut self, number: usize) {
        if let Some(at) = self.number_at {
            write_digits(&mut self.bytes, at, NUMBER.len(), number as u64);
        }
    }

    /// The request as it is to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An event's data of this many bytes, but not fewer than it takes to hold a time.
#[must_use]
pub fn event_data(bytes: usize) -> String {
    let pad = "x".repeat(bytes.saturating_sub(DATA_AROUND_PAD_BYTES));
    format!("{{\"pad\":\"{pad}\",\"at\":\"{:0STAMP_DIGITS$}~\"}}", 0)
}

/// A topic's number as it stands in a path.
#[must_use]
pub fn numbered(path: &str, number: usize) -> String {
    path.replace(NUMBER, &format!("{number:0width$}", width = NUMBER.len()))
}

/// Writes a number in so many digits; the leading ones are left away where it has more.
fn write_digits(bytes: &mut [u8], at: usize, digits: usize, mut number: u64) {
    for place in bytes.iter_mut().skip(at).take(digits).rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// Ends the time in an event, and is nowhere else in a stream.
pub const MARKER: u8 = b'~';
/// In a path: the number of one of many topics.
pub const NUMBER: &str = "@@@@@@";
/// Enough for half a year.
const STAMP_DIGITS: usize = 16;
/// `{"pad":"","at":"0000000000000000~"}`.
const DATA_AROUND_PAD_BYTES: usize = 35;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_asked_for() {
        for bytes in [DATA_AROUND_PAD_BYTES, 110, 200] {
            assert_eq!(event_data(bytes).len(), bytes);
        }
        assert_eq!(event_data(1).len(), DATA_AROUND_PAD_BYTES);
    }

    #[test]
    fn time_and_number_are_written_in_their_places() {
        let request = format!("POST /t/{NUMBER} HTTP/1.1\r\n\r\n{}", event_data(0));
        let mut template = Template::new(request.as_bytes()).unwrap();
        template.stamp(1_234_567);
        template.number(42);
        assert_eq!(
            str::from_utf8(template.bytes()).unwrap(),
            "POST /t/000042 HTTP/1.1\r\n\r\n{\"pad\":\"\",\"at\":\"0000000001234567~\"}"
        );
        template.stamp(7);
        assert!(template.bytes().ends_with(b"0000000000000007~\"}"));
    }

    #[test]
    fn a_request_without_an_event_is_refused() {
        assert!(Template::new(b"GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(Template::new(b"~").is_err());
    }
}
