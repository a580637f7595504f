//! The gateway's routes in the settings: [`Route`], and the table of the keys that one may have.
//!
//! A row of the table gives the path of a key below `[[gateway.routes]]`, its type, its default (none: it must be given)
//! and its bounds. Types and their spellings are in `route/value.rs`; what a route does is the gateway's business.

mod value;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use http::HeaderName;
use longwave::gateway::{AllowRule, Background, Dialect, Disconnect, RouteOptions};

pub(super) use self::value::RouteArgs;
use self::value::{AddedHeaders, Prefix, Upstream};
use super::error::SettingError;
use super::file::FileRoute;
use super::resolve::{Origin, Sourced, split};
use super::value::{Bounded, Form, Value, millis};
use super::{ROUTES, Row};

/// A route, ready for the gateway.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) options: RouteOptions,
    /// Where it was declared.
    pub(crate) origin: Origin,
    rows: Vec<Row>,
}

impl Route {
    /// Every key with its value as text and where that came from. Of headers that are added, the names alone.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.clone()
    }

    /// Reads what was given, and finds out which routes are in force.
    pub(super) fn resolve(
        outside: &[Given],
        inside: &[Given],
        env: &HashMap<OsString, OsString>,
        errors: &mut Vec<SettingError>,
    ) -> Vec<Route> {
        refuse_duplicates(inside, errors);
        let (replaced, rest): (Vec<&Given>, Vec<&Given>) = inside
            .iter()
            .partition(|route| outside.iter().any(|other| other.prefix() == route.prefix()));
        // What is replaced is checked as well, but its variables need not be there.
        for given in replaced {
            RouteValues::read(given, errors);
        }
        let mut routes = Vec::new();
        for given in outside.iter().chain(rest) {
            let Some(values) = RouteValues::read(given, errors) else { continue };
            let (origin, rows) = (values.prefix.origin.clone(), values.rows());
            match values.options(env) {
                Ok(options) => routes.push(Route { options, origin, rows }),
                Err(problems) => errors.extend(problems),
            }
        }
        routes
    }
}

/// What somebody gave for a route, by the names of its keys.
pub(super) struct Given {
    origin: Origin,
    words: HashMap<String, (Origin, Vec<String>)>,
}

impl Given {
    /// Routes of flags or of the environment.
    pub(super) fn of_args(args: &Sourced<RouteArgs>) -> Vec<Given> {
        let origin = &args.origin;
        let given = args.value.0.iter().map(|(prefix, upstream)| {
            let words = [("prefix", prefix), ("upstream", upstream)].map(|(path, word)| {
                (format!("{ROUTES}{path}"), (origin.clone(), vec![word.clone()]))
            });
            Given { origin: origin.clone(), words: words.into() }
        });
        given.collect()
    }

    /// Routes of a file.
    pub(super) fn of_file(routes: Vec<FileRoute>, path: &Path) -> Vec<Given> {
        let origin = |line| Origin::File { path: path.to_owned(), line };
        let given = routes.into_iter().map(|route| {
            let entries = route.entries.into_iter();
            let words = entries.map(|(name, entry)| (name, (origin(entry.line), entry.words)));
            Given { origin: origin(route.line), words: words.collect() }
        });
        given.collect()
    }

    /// The prefix, where one was given that can be a route's.
    fn prefix(&self) -> Option<Prefix> {
        let (_, words) = self.words.get(PREFIX)?;
        Prefix::parse(words).ok()
    }

    fn value<T: Value>(
        &self,
        key: &'static RouteKey,
        errors: &mut Vec<SettingError>,
    ) -> Option<Sourced<T>> {
        let read = match (self.words.get(key.name), key.default) {
            (Some((origin, words)), _) => {
                Sourced::read(key.name, key.bounds, origin.clone(), words)
            }
            (None, Some(default)) => {
                let words = if default.is_empty() { Vec::new() } else { split(T::SHAPE, default) };
                Sourced::read(key.name, key.bounds, Origin::Default, &words)
            }
            // Who read the route has told so.
            (None, None) => return None,
        };
        read.map_err(|error| errors.push(error)).ok()
    }
}

/// One row of the table: all there is to know of a key but its type.
#[derive(Debug)]
pub(super) struct RouteKey {
    /// The path within the file: `gateway.routes.timeouts.connect`.
    pub(super) name: &'static str,
    /// The default, as a person would write it; `None` where the key must be given.
    pub(super) default: Option<&'static str>,
    /// The least and the most, as a person would write them.
    pub(super) bounds: Option<(&'static str, &'static str)>,
    pub(super) help: &'static str,
    /// What its values look like, for people.
    pub(super) kind: &'static str,
    /// How the file writes it.
    pub(super) form: Form,
}

impl RouteKey {
    /// The path within the route: `timeouts.connect`.
    pub(super) fn path(&self) -> &'static str {
        self.name.strip_prefix(ROUTES).unwrap_or(self.name)
    }
}

macro_rules! route_keys {
    ($($field:ident: $type:ty $(= $default:literal)?, in $path:literal
        $(, from $least:literal to $most:literal)?; $help:literal)+) => {
        /// Every key of a route, in the order in which people read them.
        pub(super) const ROUTE_KEYS: &[RouteKey] = &[$(RouteKey {
            name: concat!("gateway.routes.", $path),
            default: route_keys!(@option $($default)?),
            bounds: route_keys!(@option $(($least, $most))?),
            help: $help,
            kind: <$type as Value>::KIND,
            form: <$type as Value>::FORM,
        },)+];

        /// The values of a route's keys. Some may be secrets, so it can't be printed for debugging.
        struct RouteValues {
            $($field: Sourced<$type>,)+
        }

        impl RouteValues {
            /// Reads all keys; `None` where one is wrong.
            fn read(given: &Given, errors: &mut Vec<SettingError>) -> Option<RouteValues> {
                let mut keys = ROUTE_KEYS.iter();
                $(let $field = keys.next().and_then(|key| given.value(key, errors));)+
                Some(RouteValues { $($field: $field?,)+ })
            }

            fn rows(&self) -> Vec<Row> {
                let columns = [$((&self.$field.text, &self.$field.origin),)+];
                let rows = ROUTE_KEYS.iter().zip(columns).map(|(key, (text, origin))| Row {
                    name: format!("{} {}", self.prefix.value.0, key.path()),
                    value: text.clone(),
                    origin: origin.to_string(),
                });
                rows.collect()
            }
        }
    };
    (@option) => { None };
    (@option $value:expr) => { Some($value) };
}

route_keys! {
    prefix: Prefix, in "prefix";
        "The path that the route is for, and all paths below; of several that fit, the longest counts"
    upstream: Upstream, in "upstream";
        "What stands in the prefix's place upstream"
    dialect: Option<Dialect> = "auto", in "dialect";
        "The wire format of its streams; auto finds it out for each stream"
    disconnect: Disconnect = "continue", in "disconnect", from "grace=1s" to "grace=7d";
        "What becomes of a stream that nobody watches: it goes on, is cancelled, or is cancelled unless somebody comes back in time"
    retention: Bounded<Duration> = "off", in "retention", from "1s" to "100000d";
        "How long a stream is kept after its end; off: as long as the log keeps its events"
    background: Background = "gateway", in "background";
        "Who runs what is asked for with background: the gateway, by an ordinary stream, or the upstream"
    allow: Vec<AllowRule> = "everything", in "allow";
        "What may be asked for, with or without a method, by the path behind the prefix; * is one segment, a last ** any number"
    principal: Vec<HeaderName> = "authorization, x-api-key, api-key", in "principal";
        "The headers whose values tell one client from another; where it is an empty list, all clients are one"
    headers_add: AddedHeaders = "", in "headers.add";
        "Headers that requests to upstream get, instead of what the client sent under these names"
    headers_strip: Vec<HeaderName> = "", in "headers.strip";
        "Headers of the client that upstream does not get"
    connect: Duration = "10s", in "timeouts.connect", from "100ms" to "5m";
        "How long a connection to upstream may take"
    first_byte: Duration = "5m", in "timeouts.first_byte", from "1s" to "24h";
        "How long upstream may take until its answer's first byte"
    idle: Duration = "2m", in "timeouts.idle", from "1s" to "24h";
        "How long a stream may be silent between two pieces"
    total: Bounded<Duration> = "off", in "timeouts.total", from "1s" to "30d";
        "How long a stream may take in all"
}

impl RouteValues {
    /// The route as the gateway takes it.
    ///
    /// # Errors
    /// Every header whose value can't be had from the environment.
    fn options(
        &self,
        env: &HashMap<OsString, OsString>,
    ) -> Result<RouteOptions, Vec<SettingError>> {
        let add_headers = self.headers_add.value.resolve(&self.headers_add.origin, env)?;
        Ok(RouteOptions {
            prefix: self.prefix.value.0.clone(),
            upstream: self.upstream.value.0.clone(),
            dialect: self.dialect.value,
            add_headers,
            strip_headers: self.headers_strip.value.clone(),
            allow: self.allow.value.clone(),
            principal_headers: self.principal.value.clone(),
            connect_timeout_ms: millis(self.connect.value),
            first_byte_timeout_ms: millis(self.first_byte.value),
            idle_timeout_ms: millis(self.idle.value),
            total_timeout_ms: self.total.value.limit().map(millis),
            disconnect: self.disconnect.value,
            retention_ms: self.retention.value.limit().map(millis),
            background: self.background.value,
        })
    }
}

fn refuse_duplicates(routes: &[Given], errors: &mut Vec<SettingError>) {
    let mut first: HashMap<String, &Origin> = HashMap::new();
    for route in routes {
        let Some(Prefix(prefix)) = route.prefix() else { continue };
        let origin = &route.origin;
        if let Some(other) = first.get(&prefix) {
            let (origin, other) = (origin.clone(), (*other).clone());
            errors.push(SettingError::Duplicate { origin, prefix, other });
        } else {
            first.insert(prefix, origin);
        }
    }
}

/// The key that tells routes apart.
const PREFIX: &str = "gateway.routes.prefix";

#[cfg(test)]
mod tests;
