//! An event as the decoder hands it out, borrowed ([`EventRef`]) and owned ([`Event`]). Encoding is in `encoder.rs`.

use alloc::borrow::ToOwned;
use alloc::string::String;

use crate::extension::ExtensionFields;

/// The type of an event that names none.
pub const DEFAULT_EVENT_TYPE: &str = "message";

/// An event that borrows from the input or from the decoder: free to make, gone at the next
/// [`Decoder::decode`](crate::Decoder::decode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// As on the wire: empty when the event named no type.
    pub(crate) event_type: &'a str,
    pub(crate) data: &'a str,
    pub(crate) last_event_id: &'a str,
    pub(crate) id_origin: IdOrigin,
    pub(crate) extensions: &'a ExtensionFields,
}

impl<'a> EventRef<'a> {
    /// The event's type, [`DEFAULT_EVENT_TYPE`] when it named none.
    #[must_use]
    pub fn event_type(&self) -> &'a str {
        type_or_default(self.event_type)
    }

    /// The event's data, its lines joined by LF.
    #[must_use]
    pub fn data(&self) -> &'a str {
        self.data
    }

    /// The id that a reconnect after this event sends: the event's own, else that of an earlier one, else empty.
    #[must_use]
    pub fn last_event_id(&self) -> &'a str {
        self.last_event_id
    }

    /// The id that this event itself carried. `Some("")` is an event that reset the last event id.
    #[must_use]
    pub fn id(&self) -> Option<&'a str> {
        match self.id_origin {
            IdOrigin::Own => Some(self.last_event_id),
            IdOrigin::Earlier => None,
        }
    }

    /// The fields that the standard does not know; empty unless the decoder was told to keep them.
    #[must_use]
    pub fn extensions(&self) -> &'a ExtensionFields {
        self.extensions
    }

    /// The same event, free of the decoder. Allocates for the data, and for type and id where there are any.
    #[must_use]
    pub fn to_owned(&self) -> Event {
        Event {
            event_type: self.event_type.to_owned(),
            data: self.data.to_owned(),
            last_event_id: self.last_event_id.to_owned(),
            id_origin: self.id_origin,
            extensions: self.extensions.clone(),
        }
    }
}

/// An event that owns its text. Made by [`EventRef::to_owned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    event_type: String,
    data: String,
    last_event_id: String,
    id_origin: IdOrigin,
    extensions: ExtensionFields,
}

impl Event {
    /// The event's type, [`DEFAULT_EVENT_TYPE`] when it named none.
    #[must_use]
    pub fn event_type(&self) -> &str {
        type_or_default(&self.event_type)
    }

    /// The event's data, its lines joined by LF.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The event's data, without a copy.
    #[must_use]
    pub fn into_data(self) -> String {
        self.data
    }

    /// The id that a reconnect after this event sends: the event's own, else that of an earlier one, else empty.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The id that this event itself carried. `Some("")` is an event that reset the last event id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.as_ref().id()
    }

    /// The fields that the standard does not know; empty unless the decoder was told to keep them.
    #[must_use]
    pub fn extensions(&self) -> &ExtensionFields {
        &self.extensions
    }

    /// The same event, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            event_type: &self.event_type,
            data: &self.data,
            last_event_id: &self.last_event_id,
            id_origin: self.id_origin,
            extensions: &self.extensions,
        }
    }
}

/// Which event's block set the last event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdOrigin {
    Own,
    Earlier,
}

fn type_or_default(event_type: &str) -> &str {
    if event_type.is_empty() { DEFAULT_EVENT_TYPE } else { event_type }
}
