//! What the engine asks of whoever knows the bytes: [`Framing`].

use std::time::Duration;

use longwave_core::FeedItem;

/// How what is delivered becomes bytes.
///
/// Two subscribers of the same topics with equal framings get the same bytes, so these are made once for all of them.
/// Every piece ends where any other piece may follow. The bytes of an item depend on nothing but the item and the
/// framing: what a full socket took only a part of is made again later, from where it broke off.
pub trait Framing: Clone + Eq + Send + 'static {
    /// Appends an event, an end or a gap.
    fn write_item(&self, out: &mut Vec<u8>, item: &FeedItem);

    /// Appends the sign of life that is sent after some silence.
    fn write_heartbeat(&self, out: &mut Vec<u8>);

    /// Appends the last words of a server that goes down: come back after `retry`.
    fn write_farewell(&self, out: &mut Vec<u8>, retry: Duration);

    /// Appends what ends the stream in order, if anything does.
    fn write_finish(&self, out: &mut Vec<u8>);
}
