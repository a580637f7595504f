//! The topic in a request's path: [`TopicPath`].

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;
use longwave_core::{TopicName, TopicNameError};

use super::{Code, Problem};

/// The topic behind `/topics/`, in its canonical spelling.
///
/// Read from the path as it was sent: a `%2F` belongs to a segment and does not part two.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct TopicPath(pub TopicName);

impl TopicPath {
    /// The paths of topics start with this.
    pub const PREFIX: &str = "/topics/";

    /// The topic that a URI names.
    ///
    /// # Errors
    /// [`Code::TopicInvalid`], [`Code::TopicReserved`].
    pub fn of(uri: &Uri) -> Result<TopicPath, Problem> {
        let path = uri.path();
        let name = path.strip_prefix(Self::PREFIX).unwrap_or(path);
        name.parse().map(TopicPath).map_err(Problem::from)
    }
}

impl<S: Sync> FromRequestParts<S> for TopicPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<TopicPath, Problem> {
        TopicPath::of(&parts.uri)
    }
}

impl From<TopicNameError> for Problem {
    fn from(error: TopicNameError) -> Problem {
        let code = match error {
            TopicNameError::Reserved => Code::TopicReserved,
            _ => Code::TopicInvalid,
        };
        Problem::new(code, error)
    }
}
