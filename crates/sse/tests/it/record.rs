//! Everything that a stream said, as plain values to compare. The tests' one way to drive a decoder.

use std::collections::BTreeMap;

use longwave_sse::{DecodeError, Decoded, Decoder, EventRef, UnknownFields};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) comments: Vec<String>,
    /// Every reconnection time, in milliseconds.
    pub(crate) retries: Vec<u64>,
    pub(crate) last_event_id: String,
    pub(crate) error: Option<DecodeError>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordedEvent {
    pub(crate) event_type: String,
    pub(crate) data: String,
    pub(crate) last_event_id: String,
    pub(crate) id: Option<String>,
    pub(crate) extensions: BTreeMap<String, String>,
}

impl Record {
    /// Decodes the pieces with unknown fields kept.
    pub(crate) fn of<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Self {
        Self::of_decoder(&mut Decoder::new().with_unknown_fields(UnknownFields::Keep), pieces)
    }

    /// Decodes the pieces up to their end or the first error.
    pub(crate) fn of_decoder<'p>(
        decoder: &mut Decoder,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Self {
        let mut record = Self::default();
        for mut input in pieces {
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(decoded)) => record.add(decoded),
                    Ok(None) => break,
                    Err(error) => {
                        record.error = Some(error);
                        break;
                    }
                }
            }
            assert!(input.is_empty(), "every byte is taken");
        }
        record.last_event_id = decoder.last_event_id().into();
        record
    }

    fn add(&mut self, decoded: Decoded<'_>) {
        match decoded {
            Decoded::Event(event) => self.events.push(RecordedEvent::from(event)),
            Decoded::Comment(text) => self.comments.push(text.into()),
            Decoded::Retry(delay) => self.retries.push(delay.as_millis().try_into().unwrap()),
            other => panic!("{other:?} is not known to the tests"),
        }
    }
}

impl From<EventRef<'_>> for RecordedEvent {
    fn from(event: EventRef<'_>) -> Self {
        assert_eq!(event.to_owned().as_ref(), event, "the owned event says the same");
        Self {
            event_type: event.event_type().into(),
            data: event.data().into(),
            last_event_id: event.last_event_id().into(),
            id: event.id().map(Into::into),
            extensions: event
                .extensions()
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}
