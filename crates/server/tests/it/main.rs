//! Integration tests: a module a subject.
mod read;
