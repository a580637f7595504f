//! Coming back to an upstream that runs a response in the background, after the connection to it was lost: [`Comeback`].

use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::exchange::is_event_stream;
use super::upstream::{Ask, Pieces, Upstream, pieces};
use crate::http::IDEMPOTENCY_KEY;

/// How upstream is asked again for a response that it runs. The client's headers are in it: it is kept no longer than the
/// response runs, and never written anywhere.
#[derive(Clone)]
pub(super) struct Comeback {
    upstream: Upstream,
    /// Where the response was created.
    collection: String,
    query: Option<String>,
    headers: HeaderMap,
    timeout: Duration,
    /// How often it was tried since something came.
    tries: u32,
    has_come_back: bool,
}

/// What came of coming back.
pub(super) enum Back {
    Pieces(Pieces),
    /// Upstream could not be reached, or has a problem that may pass.
    Failed,
    /// Upstream does not know the response, or gives no stream of it.
    Refused(StatusCode),
}

impl Comeback {
    /// `url` is where the response was created, `headers` what upstream got there.
    pub(super) fn new(
        upstream: Upstream,
        url: &str,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Comeback {
        let (collection, query) = match url.split_once('?') {
            Some((collection, query)) => (collection, Some(query.to_owned())),
            None => (url, None),
        };
        let mut headers = headers.clone();
        for name in [CONTENT_TYPE, CONTENT_ENCODING, IDEMPOTENCY_KEY] {
            headers.remove(name);
        }
        Comeback {
            upstream,
            collection: collection.trim_end_matches('/').to_owned(),
            query,
            headers,
            timeout,
            tries: 0,
            has_come_back: false,
        }
    }

    /// Whether upstream was asked again before, so that it may say again what it said.
    pub(super) fn has_come_back(&self) -> bool {
        self.has_come_back
    }

    /// Something new came: that it broke off before counts no more.
    pub(super) fn renew(&mut self) {
        self.tries = 0;
    }

    /// Waits a little, and asks upstream for what follows the event of this number. `None` where that was tried often
    /// enough.
    pub(super) fn try_again(
        &mut self,
        response_id: &str,
        after: Option<u64>,
    ) -> Option<BoxFuture<'static, Back>> {
        if self.tries == TRIES_MAX {
            return None;
        }
        let wait = wait_before(self.tries, getrandom::u64().unwrap_or(0));
        self.tries += 1;
        self.has_come_back = true;
        let after = after.map_or(String::new(), |number| format!("&starting_after={number}"));
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let ask = Ask {
            method: Method::GET,
            url: self.url(response_id, "", Some(&format!("stream=true{after}"))),
            headers,
            body: reqwest::Body::default(),
        };
        let (upstream, timeout) = (self.upstream.clone(), self.timeout);
        Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            ask_again(&upstream, ask, timeout).await
        }))
    }

    /// Tells upstream to stop, as well as that can be done.
    pub(super) async fn cancel(self, response_id: String) {
        for tried in 0..CANCELS_MAX {
            let ask = Ask {
                method: Method::POST,
                url: self.url(&response_id, "/cancel", None),
                headers: self.headers.clone(),
                body: reqwest::Body::default(),
            };
            match self.upstream.send(ask, CANCEL_TIMEOUT).await {
                Ok(response) if !is_passing(response.status()) => {
                    tracing::debug!(status = %response.status(), "upstream was told to stop");
                    return;
                }
                Ok(response) => {
                    tracing::info!(status = %response.status(), "upstream does not stop yet");
                }
                Err(error) => {
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "upstream does not stop yet"
                    );
                }
            }
            tokio::time::sleep(wait_before(tried, getrandom::u64().unwrap_or(0))).await;
        }
        tracing::warn!("upstream could not be told to stop a response; it goes on there");
    }

    fn url(&self, response_id: &str, call: &str, parameters: Option<&str>) -> String {
        let id = utf8_percent_encode(response_id, ESCAPED);
        let parameters: Vec<&str> = self.query.as_deref().into_iter().chain(parameters).collect();
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("{}/{id}{call}{mark}{}", self.collection, parameters.join("&"))
    }
}

async fn ask_again(upstream: &Upstream, ask: Ask, timeout: Duration) -> Back {
    match upstream.send(ask, timeout).await {
        Ok(response) if is_passing(response.status()) => {
            tracing::info!(status = %response.status(), "upstream does not give the rest yet");
            Back::Failed
        }
        Ok(response) if is_event_stream(response.status(), response.headers()) => {
            let status = response.status();
            pieces(response).map_or(Back::Refused(status), Back::Pieces)
        }
        Ok(response) => Back::Refused(response.status()),
        Err(error) => {
            tracing::info!(error = &error as &dyn std::error::Error, "upstream can't be reached");
            Back::Failed
        }
    }
}

/// Whether an answer says that the same may work later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// Anything up to a time that doubles with each try, so that many streams that break off together don't come back
/// together.
fn wait_before(tried: u32, random: u64) -> Duration {
    let most = WAIT_MS.saturating_mul(1 << tried.min(16)).min(WAIT_MS_MAX);
    Duration::from_millis(random % (most + 1))
}

/// How often upstream is asked in vain, one time after the other.
const TRIES_MAX: u32 = 10;
const WAIT_MS: u64 = 250;
const WAIT_MS_MAX: u64 = 8_000;
const CANCELS_MAX: u32 = 4;
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// What of an id must be escaped in a path.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

#[cfg(test)]
mod tests {
    use super::super::RouteOptions;
    use super::*;

    fn comeback(url: &str) -> Comeback {
        let route = RouteOptions::new("/v1", "http://127.0.0.1").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer a"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("idempotency-key", HeaderValue::from_static("key"));
        Comeback::new(Upstream::new(&route).unwrap(), url, &headers, Duration::from_secs(1))
    }

    #[test]
    fn a_response_is_asked_for_where_it_was_created_with_the_clients_own_headers() {
        let plain = comeback("http://host/v1/responses");
        let url = plain.url("resp_1/..?", "", Some("stream=true"));
        assert_eq!(url, "http://host/v1/responses/resp_1%2F..%3F?stream=true");
        assert_eq!(plain.url("resp_1", "/cancel", None), "http://host/v1/responses/resp_1/cancel");
        let azure = comeback("http://host/openai/responses/?api-version=1");
        let url = azure.url("resp_1", "", Some("stream=true"));
        assert_eq!(url, "http://host/openai/responses/resp_1?api-version=1&stream=true");
        assert_eq!(plain.headers.keys().collect::<Vec<_>>(), ["authorization"]);
    }

    #[tokio::test]
    async fn upstream_is_asked_so_often_and_anew_when_something_came() {
        let mut comeback = comeback("http://host/v1/responses");
        assert!(!comeback.has_come_back());
        for _ in 0..TRIES_MAX {
            assert!(comeback.try_again("resp_1", Some(3)).is_some());
        }
        assert!(comeback.try_again("resp_1", Some(3)).is_none());
        assert!(comeback.has_come_back());
        comeback.renew();
        assert!(comeback.try_again("resp_1", Some(3)).is_some());
    }

    #[test]
    fn waits_grow_to_a_bound() {
        for (tried, most) in [(0, 250), (1, 500), (5, 8_000), (40, 8_000)] {
            assert_eq!(wait_before(tried, most), Duration::from_millis(most));
            assert_eq!(wait_before(tried, most + 1), Duration::ZERO);
        }
    }
}
