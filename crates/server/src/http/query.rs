//! A request's query parameters: [`Query`].

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;

use super::{Code, Problem};

/// The parameters behind a URL's `?`, decoded, in order.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the part of a URL behind the `?`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == Self::PAIRS_MAX {
                return Err(QueryError::TooMany);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Query { pairs })
    }

    /// Reads a URL's parameters.
    ///
    /// # Errors
    /// [`Code::ParameterInvalid`].
    pub fn of(uri: &Uri) -> Result<Query, Problem> {
        Query::parse(uri.query().unwrap_or_default())
            .map_err(|error| Problem::new(Code::ParameterInvalid, error))
    }

    /// The most parameters of one request: 100 selectors and some more.
    pub const PAIRS_MAX: usize = 128;

    /// The value of a parameter that may be given once; the empty text where it is given without a value.
    ///
    /// # Errors
    /// [`Code::ParameterInvalid`] where it is given more than once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Problem::new(
                Code::ParameterInvalid,
                format_args!("the parameter {name:?} may be given once"),
            )
            .with("parameter", name));
        }
        Ok(first)
    }

    /// All values of a parameter that may be given several times, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is given, with a value or without.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(given, _)| given == name)
    }

    /// Refuses parameters that are not among `known`: a misspelled one must not be passed over when something is
    /// written.
    ///
    /// # Errors
    /// [`Code::ParameterInvalid`].
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(Problem::new(
                Code::ParameterInvalid,
                format_args!(
                    "there is no parameter {name:?} here; there are: {}",
                    known.join(", ")
                ),
            )
            .with("parameter", name.as_str())),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Problem> {
        Query::of(&parts.uri)
    }
}

/// Why a query can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Percent-encoded bytes are not UTF-8.
    #[error("the query's percent-encoded bytes must be UTF-8")]
    Utf8,
    /// There are more than [`Query::PAIRS_MAX`].
    #[error("the query has more than 128 parameters")]
    TooMany,
}

fn decode(text: &str) -> Result<String, QueryError> {
    let spaced: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| QueryError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_as_forms_are() {
        let query = Query::parse("topic=a%2Fb&topic=c&end&q=x+y%2B&=").unwrap();
        assert_eq!(query.all("topic").collect::<Vec<_>>(), ["a/b", "c"]);
        assert_eq!(query.one("end").unwrap(), Some(""));
        assert_eq!(query.one("q").unwrap(), Some("x y+"));
        assert_eq!(query.one("none").unwrap(), None);
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        assert_eq!(Query::parse("a=%ff").unwrap_err(), QueryError::Utf8);
        assert_eq!(Query::parse(&"a&".repeat(129)).unwrap_err(), QueryError::TooMany);
        let twice = Query::parse("a=1&a=2").unwrap();
        assert_eq!(twice.one("a").unwrap_err().code(), Code::ParameterInvalid);
        assert_eq!(twice.only(&["b"]).unwrap_err().code(), Code::ParameterInvalid);
        assert!(twice.only(&["a"]).is_ok());
    }
}
