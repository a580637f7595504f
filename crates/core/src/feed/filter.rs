//! Which messages a reader wants to see: [`TypeFilter`].

use std::sync::Arc;

use crate::{Event, EventType, Payload};

/// The event types that a reader asked for.
///
/// It hides messages of other types. Ends and gaps always pass: a reader must know that nothing more comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeFilter(Option<Arc<[EventType]>>);

impl TypeFilter {
    /// The filter that everything passes.
    #[must_use]
    pub fn all() -> TypeFilter {
        TypeFilter(None)
    }

    /// The filter that messages of these types pass. `message` also means messages without a type, as it does for
    /// `EventSource`.
    pub fn only(types: impl IntoIterator<Item = EventType>) -> TypeFilter {
        TypeFilter(Some(types.into_iter().collect()))
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a reader gets this event.
    #[must_use]
    pub fn passes(&self, event: &Event) -> bool {
        let (Some(types), Payload::Message(message)) = (&self.0, &event.payload) else {
            return true;
        };
        let name = message.event_type.as_ref().map_or(UNTYPED, EventType::as_str);
        types.iter().any(|wanted| wanted.as_str() == name)
    }
}

/// What `EventSource` calls a message without a type.
const UNTYPED: &str = "message";
