//! The types that a route's keys have, and how each is read from text. Start with [`RouteArgs`], the flag's.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri, header};
use longwave::gateway::{
    AllowRule, Background, Dialect, Disconnect, RouteError, RouteOptions, Viewers,
};

use super::super::error::SettingError;
use super::super::resolve::Origin;
use super::super::value::{Form, Shape, Value, millis, one};

/// Routes as a flag or the environment gives them: prefix and upstream, both such as a route can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteArgs(pub(super) Vec<(String, String)>);

/// The path that a route is for, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix(pub(super) String);

/// What stands in the prefix's place upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream(pub(super) Uri);

/// Headers that requests to upstream get, with values that may yet have to come from the environment. They may be secrets,
/// so it can't be printed for debugging.
pub(super) struct AddedHeaders(Vec<(HeaderName, String)>);

impl AddedHeaders {
    /// The headers with their values, marked as sensitive.
    ///
    /// # Errors
    /// Each variable that the environment does not have as a header needs it.
    pub(super) fn resolve(
        &self,
        origin: &Origin,
        env: &HashMap<OsString, OsString>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Vec<SettingError>> {
        let (mut headers, mut errors) = (Vec::new(), Vec::new());
        for (name, template) in &self.0 {
            match substituted(template, env) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.push((name.clone(), value));
                }
                Err((variable, problem)) => errors.push(SettingError::Variable {
                    origin: origin.clone(),
                    header: name.to_string(),
                    variable,
                    problem,
                }),
            }
        }
        if errors.is_empty() { Ok(headers) } else { Err(errors) }
    }
}

impl Value for RouteArgs {
    const KIND: &'static str = "prefix=upstream";
    const SHAPE: Shape = Shape::Many;
    const FORM: Form = Form::Routes;

    fn parse(words: &[String]) -> Result<RouteArgs, String> {
        if words == [""] {
            return Ok(RouteArgs(Vec::new()));
        }
        let mut routes: Vec<(String, String)> = Vec::new();
        for word in words {
            let Some((prefix, upstream)) = word.split_once('=') else {
                return Err(
                    "expected a path, = and a URL, such as /v1=https://api.openai.com/v1; \
                            a URL with a comma can stand in the file alone"
                        .to_owned(),
                );
            };
            let Prefix(prefix) = Prefix::parse(&[prefix.to_owned()])?;
            Upstream::parse(&[upstream.to_owned()])?;
            if routes.iter().any(|(other, _)| *other == prefix) {
                return Err(format!("there can be one route for {prefix}"));
            }
            routes.push((prefix, upstream.to_owned()));
        }
        Ok(RouteArgs(routes))
    }

    fn is_within(&self, _: &RouteArgs, _: &RouteArgs) -> bool {
        true
    }

    fn text(words: &[String]) -> String {
        without_secrets(words)
    }
}

impl Value for Prefix {
    const KIND: &'static str = "path";

    fn parse(words: &[String]) -> Result<Prefix, String> {
        match RouteOptions::new(one(words)?, ANY_UPSTREAM) {
            Ok(route) => Ok(Prefix(route.prefix)),
            Err(RouteError::Taken(_)) => {
                Err("that path belongs to the server itself; take another".to_owned())
            }
            Err(_) => Err("expected a path that starts with a slash and goes on behind it, such as /v1, and holds \
                           no query, no * and nothing but visible ASCII"
                .to_owned()),
        }
    }

    fn is_within(&self, _: &Prefix, _: &Prefix) -> bool {
        true
    }
}

impl Value for Upstream {
    const KIND: &'static str = "URL";

    fn parse(words: &[String]) -> Result<Upstream, String> {
        let word = one(words)?;
        let expected = "expected an http or https URL without user, query or fragment, \
                        such as https://api.openai.com/v1";
        let route = RouteOptions::new(ANY_PREFIX, word).map_err(|_| expected.to_owned())?;
        let has_user = route.upstream.authority().is_some_and(|host| host.as_str().contains('@'));
        if has_user {
            return Err(format!("{expected}; credentials belong in headers.add"));
        }
        if word.contains('#') { Err(expected.to_owned()) } else { Ok(Upstream(route.upstream)) }
    }

    fn is_within(&self, _: &Upstream, _: &Upstream) -> bool {
        true
    }

    fn text(words: &[String]) -> String {
        without_secrets(words)
    }
}

impl Value for Option<Dialect> {
    const KIND: &'static str =
        "auto, openai-chat, openai-responses, anthropic, vercel-ui, ollama or sse";

    fn parse(words: &[String]) -> Result<Self, String> {
        match one(words)? {
            "auto" => Ok(None),
            word => word.parse().map(Some).map_err(|_| format!("expected {}", Self::KIND)),
        }
    }

    fn is_within(&self, _: &Self, _: &Self) -> bool {
        true
    }
}

impl Value for Disconnect {
    const KIND: &'static str = "continue, cancel or { grace = duration }";
    const FORM: Form = Form::WordsOrPairs;

    fn parse(words: &[String]) -> Result<Disconnect, String> {
        let expected = || "expected continue, cancel or { grace = \"30s\" }".to_owned();
        let [word] = words else { return Err(expected()) };
        match (word.as_str(), word.split_once('=')) {
            ("continue", _) => Ok(Disconnect::Continue),
            ("cancel", _) => Ok(Disconnect::Cancel),
            (_, Some(("grace", time))) => {
                let time = Duration::parse(&[time.to_owned()])?;
                Ok(Disconnect::Grace { ms: millis(time) })
            }
            _ => Err(expected()),
        }
    }

    fn is_within(&self, least: &Disconnect, most: &Disconnect) -> bool {
        match (self, least, most) {
            (
                Disconnect::Grace { ms },
                Disconnect::Grace { ms: least },
                Disconnect::Grace { ms: most },
            ) => (least..=most).contains(&ms),
            _ => true,
        }
    }
}

impl Value for Background {
    const KIND: &'static str = "gateway or upstream";

    fn parse(words: &[String]) -> Result<Background, String> {
        match one(words)? {
            "gateway" => Ok(Background::Gateway),
            "upstream" => Ok(Background::Upstream),
            _ => Err("expected gateway or upstream".to_owned()),
        }
    }

    fn is_within(&self, _: &Background, _: &Background) -> bool {
        true
    }
}

impl Value for Viewers {
    const KIND: &'static str = "open or token";

    fn parse(words: &[String]) -> Result<Viewers, String> {
        match one(words)? {
            "open" => Ok(Viewers::Open),
            "token" => Ok(Viewers::Token),
            _ => Err("expected open or token".to_owned()),
        }
    }

    fn is_within(&self, _: &Viewers, _: &Viewers) -> bool {
        true
    }
}

impl Value for Vec<AllowRule> {
    const KIND: &'static str = "list of methods and paths";
    const SHAPE: Shape = Shape::Many;

    fn parse(words: &[String]) -> Result<Self, String> {
        match words {
            [] => Err("an empty list would allow nothing; leave it out to allow everything".into()),
            [word] if word == "everything" => Ok(Vec::new()),
            words => {
                let rule = |word: &String| {
                    AllowRule::parse(word).map_err(|_| {
                        format!("{word:?} is no path behind the prefix, such as /models or POST /chat/completions")
                    })
                };
                words.iter().map(rule).collect()
            }
        }
    }

    fn is_within(&self, _: &Self, _: &Self) -> bool {
        true
    }
}

impl Value for Vec<HeaderName> {
    const KIND: &'static str = "list of header names";
    const SHAPE: Shape = Shape::Many;

    fn parse(words: &[String]) -> Result<Self, String> {
        words.iter().map(|word| parse_name(word)).collect()
    }

    fn is_within(&self, _: &Self, _: &Self) -> bool {
        true
    }
}

impl Value for AddedHeaders {
    const KIND: &'static str = "table of texts";
    const SHAPE: Shape = Shape::Many;
    const FORM: Form = Form::Pairs;

    fn parse(words: &[String]) -> Result<AddedHeaders, String> {
        let (mut headers, mut problems) = (Vec::<(HeaderName, String)>::new(), Vec::new());
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match parse_added(name, value) {
                Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                    problems.push(format!("{name} is there twice"));
                }
                Ok(name) => headers.push((name, value.to_owned())),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(AddedHeaders(headers)) } else { Err(problems.join("; ")) }
    }

    fn is_within(&self, _: &AddedHeaders, _: &AddedHeaders) -> bool {
        true
    }

    /// The names alone.
    fn text(words: &[String]) -> String {
        let names = words.iter().map(|word| word.split('=').next().unwrap_or_default());
        names.collect::<Vec<_>>().join(", ")
    }
}

/// The name of a header that is to be added with that value, where it can be.
fn parse_added(name: &str, value: &str) -> Result<HeaderName, String> {
    let name = parse_name(name)?;
    if OF_THE_CONNECTION.contains(&name) {
        return Err(format!("{name} belongs to the connection and can't be added"));
    }
    let is_variable = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !value.split(' ').filter_map(|word| word.strip_prefix(FROM_ENV)).all(is_variable) {
        return Err(format!("{name} has env: without the name of a variable behind it"));
    }
    match HeaderValue::from_str(value) {
        Ok(_) => Ok(name),
        Err(_) => Err(format!("{name} has a value that no header can have")),
    }
}

fn parse_name(word: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(word.trim().as_bytes())
        .map_err(|_| format!("{word:?} is no header's name"))
}

/// A header's value, with variables in place of their names.
///
/// # Errors
/// The variable, and what is wrong with it.
fn substituted(
    template: &str,
    env: &HashMap<OsString, OsString>,
) -> Result<HeaderValue, (String, &'static str)> {
    let (mut words, mut variables) = (Vec::new(), Vec::new());
    for word in template.split(' ') {
        let Some(variable) = word.strip_prefix(FROM_ENV) else {
            words.push(word);
            continue;
        };
        variables.push(variable);
        match env.get(OsStr::new(variable)).map(|value| value.to_str()) {
            None => return Err((variable.to_owned(), "is not set")),
            Some(None) => return Err((variable.to_owned(), NO_HEADER)),
            Some(Some("")) => return Err((variable.to_owned(), "is empty")),
            Some(Some(value)) => words.push(value),
        }
    }
    HeaderValue::from_str(&words.join(" ")).map_err(|_| (variables.join(" or "), NO_HEADER))
}

/// URLs, or what was meant to be such, without user, password and query.
fn without_secrets(words: &[String]) -> String {
    words.iter().map(|word| without_secret(word)).collect::<Vec<_>>().join(", ")
}

fn without_secret(word: &str) -> String {
    let (url, query) = match word.find(['?', '#']) {
        Some(at) => (word.split_at(at).0, "?…"),
        None => (word, ""),
    };
    let Some((scheme, rest)) = url.split_once("://") else { return format!("{url}{query}") };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}{query}"),
        None => format!("{url}{query}"),
    }
}

/// What a word of a header's value starts with that stands for an environment variable.
const FROM_ENV: &str = "env:";

/// What is wrong with the value of a variable.
const NO_HEADER: &str = "holds what no header can, such as the end of a line";

/// A route has both, and the gateway checks them together.
const ANY_UPSTREAM: &str = "http://localhost";
const ANY_PREFIX: &str = "/any";

/// Headers that the gateway's own connection to upstream decides on.
const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
