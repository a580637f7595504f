//! Feeds against a log and channels of plain values: [`model`], single rules in [`rules`], all interleavings in
//! [`seam`].

mod model;
mod rules;
mod seam;
