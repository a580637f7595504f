//! Event streams of which nothing is known but that they are some: every event is content, and any end may be the end.

use super::compact::Delta;
use super::transcript::{Known, Notice};
use super::{Closing, Meaning, Piece, Rules};

pub(super) struct Sse;

impl Rules for Sse {
    fn take(&self, _: &mut Known, _: Piece<'_>) -> Meaning {
        Meaning::Content
    }

    fn closing(&self, _: &Known, _: Notice<'_>) -> Vec<Closing> {
        Vec::new()
    }

    fn delta<'a>(&self, _: Piece<'a>) -> Option<Delta<'a>> {
        None
    }

    fn push_text(&self, _: Piece<'_>, _: &mut String) {}
}
