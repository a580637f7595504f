//! Where every request comes in: [`Front`].
//!
//! Publishing is what a server does most, so a publish goes straight to its handler. All else goes through the
//! router, whose layers and boxed futures took more than a third of what a publish costs besides system calls:
//! `bench/publish.md` has the figures.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{Method, Request};
use tower::ServiceExt;

use super::publish::RequestBody;
use super::successor::pass_on;
use super::{App, TopicPath, origin, publish, router};

/// The HTTP interface as a connection sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Front {
    app: App,
    router: Router,
}

impl Front {
    pub(crate) fn new(app: App) -> Front {
        Front { router: router(app.clone()), app }
    }

    /// The same over other routes.
    #[cfg(test)]
    pub(crate) fn with_routes(app: App, routes: Router<App>) -> Front {
        Front { router: router::with_middleware(routes, app.clone()), app }
    }

    /// Answers a request, or has it answered where another server has the log.
    ///
    /// # Cancel safety
    /// A publish that was read whole may still be appended.
    pub(crate) async fn answer(&self, request: Request<impl RequestBody>) -> Response {
        let _open = self.app.requests().begin();
        if let Some(successor) = self.app.successor() {
            return pass_on(successor, request.map(Body::new)).await;
        }
        if is_publish_of_no_page(&request) {
            return self.publish(request).await;
        }
        match self.router.clone().oneshot(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// What the router's layers and its route for topics come to where no browser's page is behind the request.
    async fn publish(&self, request: Request<impl RequestBody>) -> Response {
        let (head, body) = request.into_parts();
        let answer = match origin::check_host(&self.app, &head.uri, &head.headers) {
            Ok(()) => {
                let published = publish::answer(&self.app, head, body).await;
                let mut response = published.into_response();
                response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
                response
            }
            Err(problem) => problem.into_response(),
        };
        self.app.metrics().publish_request(answer.status());
        answer
    }
}

/// Whether a request is a publish that no page of any site can have sent: browsers name the page's origin with each
/// `POST`, and such a one needs what the router's layers tell browsers.
fn is_publish_of_no_page<B>(request: &Request<B>) -> bool {
    let names_topic = |path: &str| path.len() > TopicPath::PREFIX.len();
    request.method() == Method::POST
        && request.uri().path().starts_with(TopicPath::PREFIX)
        && names_topic(request.uri().path())
        && !request.headers().contains_key(header::ORIGIN)
}
