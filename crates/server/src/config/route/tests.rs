//! Routes from files, flags and the environment, right and wrong.

use std::io::Write as _;

use expect_test::{Expect, expect};
use longwave::gateway::Viewers;

use super::super::{Settings, Sources, effective, markdown};
use super::*;

/// The settings from a file, the values of `--gateway`, and the environment.
fn resolve(text: &str, flags: &[&str], env: &[(&str, &str)]) -> Result<Settings, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let mut sources = Sources::default();
    sources.flags.insert("config", vec![path.to_owned()]);
    if !flags.is_empty() {
        sources.flags.insert("gateway", flags.iter().map(ToString::to_string).collect());
    }
    sources.env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Settings::resolve(&sources).map_err(|errors| errors.to_string().replace(path, "FILE"))
}

fn check_errors(text: &str, expected: Expect) {
    let Err(errors) = resolve(text, &[], &[]) else { panic!("{text} is wrong") };
    expected.assert_eq(&errors);
}

fn upstreams(settings: &Settings) -> Vec<(&str, String)> {
    let routes = settings.routes.iter().map(|route| &route.options);
    routes.map(|route| (route.prefix.as_str(), route.upstream.to_string())).collect()
}

#[test]
fn a_route_with_prefix_and_upstream_alone_is_as_the_gateway_has_it_by_default() {
    let text = "[[gateway.routes]]\nprefix = '/v1/'\nupstream = 'https://host/v1'\n";
    let expected = format!("{:?}", RouteOptions::new("/v1", "https://host/v1").unwrap());
    for settings in [
        resolve(text, &[], &[]),
        resolve("", &["/v1=https://host/v1"], &[]),
        resolve("", &[], &[("LONGWAVE_GATEWAY", "/v1=https://host/v1/")]),
    ] {
        let settings = settings.unwrap();
        let routes: Vec<String> =
            settings.routes.iter().map(|route| format!("{:?}", route.options)).collect();
        assert_eq!(routes, [expected.as_str()]);
    }
}

#[test]
fn every_key_does_what_it_says() {
    let text = "
        [gateway]
        viewers = 'token'
        request_size = '1MiB'
        [[gateway.routes]]
        prefix = '/v1'
        upstream = 'https://host/a,b'
        dialect = 'openai-chat'
        disconnect = { grace = '30s' }
        retention = '7d'
        background = 'upstream'
        allow = ['POST /chat/completions', '/models/*']
        principal = ['X-User']
        headers.add = { X-Org = 'mine', authorization = 'Bearer env:KEY' }
        headers.strip = ['cookie', 'Referer']
        [gateway.routes.timeouts]
        connect = '1s'
        first_byte = '2s'
        idle = '3s'
        total = '4s'
    ";
    let settings = resolve(text, &[], &[("KEY", "s3cret")]).unwrap();
    assert_eq!(settings.gateway_viewers.value, Viewers::Token);
    assert_eq!(settings.gateway_request_size.value.0, 1 << 20);
    let mut expected = RouteOptions::new("/v1", "https://host/a,b").unwrap();
    expected.dialect = Some(Dialect::OpenaiChat);
    expected.disconnect = Disconnect::Grace { ms: 30_000 };
    expected.retention_ms = Some(604_800_000);
    expected.background = Background::Upstream;
    expected.allow = ["POST /chat/completions", "/models/*"]
        .map(|rule| AllowRule::parse(rule).unwrap())
        .to_vec();
    expected.principal_headers = vec![HeaderName::from_static("x-user")];
    expected.strip_headers = vec![http::header::COOKIE, http::header::REFERER];
    expected.connect_timeout_ms = 1_000;
    expected.first_byte_timeout_ms = 2_000;
    expected.idle_timeout_ms = 3_000;
    expected.total_timeout_ms = Some(4_000);
    let mut route = settings.routes[0].options.clone();
    let mut added: Vec<(String, String)> = std::mem::take(&mut route.add_headers)
        .into_iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    added.sort();
    assert_eq!(format!("{route:?}"), format!("{expected:?}"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(added, [pair("authorization", "Bearer s3cret"), pair("x-org", "mine")]);
}

#[test]
fn all_that_is_wrong_with_the_keys_is_told_at_once_with_its_line() {
    check_errors(
        "[[gateway.routes]]\nprefix = 'v1'\nupstream = 'ftp://host'\nprefx = '/v1'\n\
         dialect = 'openai'\ndisconnect = { grase = '1s' }\nretention = '1ms'\nbackground = 5\n\
         allow = ['GET models']\nprincipal = ['a b']\nheaders.strip = ['']\n\
         [gateway.routes.timeouts]\nconnect = '1h'\nfirst_byte = 5\nidel = '1s'\ntotal = ['1s', '2s']\n\
         [[gateway.routes]]\nallow = []\ndisconnect = 'grace=8d'\nconnect = '1s'\ntimeouts = '1s'\n\
         idle.x = 1\nprefix = { a = 'b' }\n",
        expect![[r#"
            FILE:4: there is no setting "gateway.routes.prefx"; did you mean "gateway.routes.prefix"?
            FILE:15: there is no setting "gateway.routes.timeouts.idel"; did you mean "gateway.routes.timeouts.idle"?
            FILE:17: the route has no "upstream"
            FILE:20: there is no setting "gateway.routes.connect"; did you mean "gateway.routes.timeouts.connect"?
            FILE:22: there is no setting "gateway.routes.idle"; did you mean "gateway.routes.timeouts.idle"?
            FILE:23: "gateway.routes.prefix" takes a text, a number, true or false, or a list of texts
            FILE:21: "gateway.routes.timeouts" is a section and takes no value
            FILE:2: "v1" is not a value for gateway.routes.prefix: expected a path that starts with a slash and goes on behind it, such as /v1, and holds no query, no * and nothing but visible ASCII
            FILE:3: "ftp://host" is not a value for gateway.routes.upstream: expected an http or https URL without user, query or fragment, such as https://api.openai.com/v1
            FILE:5: "openai" is not a value for gateway.routes.dialect: expected auto, openai-chat, openai-responses, anthropic, vercel-ui, ollama or sse
            FILE:6: "grase=1s" is not a value for gateway.routes.disconnect: expected continue, cancel or { grace = "30s" }
            FILE:7: "1ms" is not a value for gateway.routes.retention: expected 1s to 100000d
            FILE:8: "5" is not a value for gateway.routes.background: expected gateway or upstream
            FILE:9: "GET models" is not a value for gateway.routes.allow: "GET models" is no path behind the prefix, such as /models or POST /chat/completions
            FILE:10: "a b" is not a value for gateway.routes.principal: "a b" is no header's name
            FILE:11: "" is not a value for gateway.routes.headers.strip: "" is no header's name
            FILE:13: "1h" is not a value for gateway.routes.timeouts.connect: expected 100ms to 5m
            FILE:14: "5" is not a value for gateway.routes.timeouts.first_byte: expected a duration with its unit, such as 500ms, 15s, 10m or 24h
            FILE:16: "1s, 2s" is not a value for gateway.routes.timeouts.total: expected one value
            FILE:19: "grace=8d" is not a value for gateway.routes.disconnect: expected grace=1s to grace=7d
            FILE:18: "" is not a value for gateway.routes.allow: an empty list would allow nothing; leave it out to allow everything"#]],
    );
}

#[test]
fn a_list_of_routes_holds_tables() {
    check_errors(
        "[gateway]\nroutes = 'x'\nviewer = 'open'",
        expect![[r#"
        FILE:2: "gateway.routes" takes tables, each under a [[gateway.routes]] of its own
        FILE:3: there is no setting "gateway.viewer"; did you mean "gateway.viewers"?"#]],
    );
    check_errors(
        "[gateway]\nroutes = [\n5,\n{ prefix = '/v1' },\n]",
        expect![[r#"
        FILE:3: "gateway.routes" takes tables, each under a [[gateway.routes]] of its own
        FILE:4: the route has no "upstream""#]],
    );
    check_errors(
        "[gateway.routes]\nprefix = '/v1'",
        expect![[
            r#"FILE:1: "gateway.routes" takes tables, each under a [[gateway.routes]] of its own"#
        ]],
    );
}

#[test]
fn there_is_one_route_for_a_prefix() {
    check_errors(
        "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'http://a'\n\
         [[gateway.routes]]\nprefix = '/v1/x'\nupstream = 'http://a'\n\
         [[gateway.routes]]\nprefix = '/v1/'\n",
        expect![[r#"
            FILE:7: the route has no "upstream"
            FILE:7: there is a route for "/v1" already, from FILE:1"#]],
    );
    let Err(errors) = resolve("", &["/v1=http://a", "/v1/=http://b"], &[]) else {
        panic!("there are two");
    };
    expect![[r#"--gateway: "/v1=http://a, /v1/=http://b" is not a value for gateway: there can be one route for /v1"#]].assert_eq(&errors);
}

#[test]
fn what_is_given_outside_of_the_file_stands_in_for_the_whole_route_in_it() {
    let text = "[[gateway.routes]]\nprefix = '/a'\nupstream = 'http://file'\n\
                headers.add = { x-key = 'env:UNSET' }\ndisconnect = 'cancel'\n\
                [[gateway.routes]]\nprefix = '/b'\nupstream = 'http://file'\n";
    let env = [("LONGWAVE_GATEWAY", "/a=http://env,/c=http://env")];
    let pair = |prefix, upstream: &str| (prefix, upstream.to_owned());

    let settings = resolve(text, &[], &env).unwrap();
    assert_eq!(
        upstreams(&settings),
        [pair("/a", "http://env/"), pair("/c", "http://env/"), pair("/b", "http://file/")]
    );
    assert_eq!(settings.routes[0].options.disconnect, Disconnect::Continue);
    assert!(settings.routes[0].options.add_headers.is_empty());

    let settings = resolve(text, &["/a=http://flag"], &env).unwrap();
    assert_eq!(
        upstreams(&settings),
        [pair("/a", "http://flag/"), pair("/b", "http://file/")],
        "a flag is there instead of the variable"
    );
}

#[test]
fn a_variable_that_can_not_be_used_is_told_by_its_name() {
    let text = "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'http://a'\nheaders.add = { \
                a = 'env:UNSET', b = 'Bearer env:EMPTY', c = 'env:LINES', d = 'environment: x' }\n";
    let env = [("EMPTY", ""), ("LINES", "s3cret\n")];
    let Err(errors) = resolve(text, &[], &env) else { panic!("they are wrong") };
    expect![[r#"
        FILE:4: the header a takes the environment variable UNSET, which is not set
        FILE:4: the header b takes the environment variable EMPTY, which is empty
        FILE:4: the header c takes the environment variable LINES, which holds what no header can, such as the end of a line"#]].assert_eq(&errors);
}

#[test]
fn headers_that_can_not_be_added_are_told_without_their_values() {
    check_errors(
        "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'http://a'\n\
         headers.add = { 'a b' = 's3cret', host = 's3cret', c = 'env:', d = \"s3cret\\n\", e = '1', E = '2' }\n\
         [[gateway.routes]]\nprefix = '/v2'\nupstream = 'http://a'\nheaders.add = { 'a=b' = 's3cret' }\n\
         [[gateway.routes]]\nprefix = '/v3'\nupstream = 'http://a'\nheaders.add.x = ['s3cret']\n\
         [[gateway.routes]]\nprefix = '/v4'\nupstream = 'http://a'\nheaders.add = ['x=s3cret']\n",
        expect![[r#"
            FILE:8: "gateway.routes.headers.add.a=b" has a = in its name, where none can be
            FILE:12: "gateway.routes.headers.add.x" takes a text
            FILE:16: "gateway.routes.headers.add" takes a table of texts
            FILE:4: "E, a b, c, d, e, host" is not a value for gateway.routes.headers.add: "a b" is no header's name; c has env: without the name of a variable behind it; d has a value that no header can have; e is there twice; host belongs to the connection and can't be added"#]],
    );
}

#[test]
fn an_upstream_with_credentials_is_refused_without_telling_them() {
    check_errors(
        "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'https://me:s3cret@host/v1'\n\
         [[gateway.routes]]\nprefix = '/v2'\nupstream = 'https://host/v1?key=s3cret'\n\
         [[gateway.routes]]\nprefix = '/v3'\nupstream = 'https://host/v1#s3cret'\n",
        expect![[r#"
            FILE:3: "https://…@host/v1" is not a value for gateway.routes.upstream: expected an http or https URL without user, query or fragment, such as https://api.openai.com/v1; credentials belong in headers.add
            FILE:6: "https://host/v1?…" is not a value for gateway.routes.upstream: expected an http or https URL without user, query or fragment, such as https://api.openai.com/v1
            FILE:9: "https://host/v1?…" is not a value for gateway.routes.upstream: expected an http or https URL without user, query or fragment, such as https://api.openai.com/v1"#]],
    );
    let Err(errors) = resolve("", &["/v1=http://me:s3cret@host"], &[]) else {
        panic!("it has a password");
    };
    expect![[r#"--gateway: "/v1=http://…@host" is not a value for gateway: expected an http or https URL without user, query or fragment, such as https://api.openai.com/v1; credentials belong in headers.add"#]].assert_eq(&errors);
}

#[test]
fn values_of_headers_are_never_shown() {
    let text = "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'https://host/v1'\n\
                headers.add = { x-org = 's3cret-text', authorization = 'Bearer env:KEY' }\n";
    let settings = resolve(text, &[], &[("KEY", "s3cret-variable")]).unwrap();
    let (told, debugged) = (effective(&settings.rows()), format!("{settings:?}"));
    assert!(told.contains("authorization, x-org"), "{told}");
    assert!(!told.contains("s3cret") && !debugged.contains("s3cret"), "{told}{debugged}");
}

#[test]
fn the_listing_has_every_key_of_every_route_and_where_it_came_from() {
    let text = "[[gateway.routes]]\nprefix = '/v1'\nupstream = 'https://host/v1'\n";
    let settings = resolve(text, &["/v2=http://b"], &[]).unwrap();
    let rows = settings.rows();
    let told = |name: &str| {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        let origin = row.origin.rsplit(['/', ' ']).next().unwrap();
        let place = origin.rsplit_once(':').map_or(origin, |(_, line)| line);
        (row.value.clone(), place.to_owned())
    };
    let row = |value: &str, place: &str| (value.to_owned(), place.to_owned());
    assert_eq!(told("/v1 upstream"), row("https://host/v1", "3"));
    assert_eq!(told("/v1 timeouts.connect"), row("10s", "default"));
    assert_eq!(told("/v2 upstream"), row("http://b", "--gateway"));
    assert_eq!(told("gateway"), row("/v2=http://b", "--gateway"));
    let of_routes = rows.iter().filter(|row| row.name.starts_with('/')).count();
    assert_eq!(of_routes, 2 * ROUTE_KEYS.len());
}

#[test]
fn the_example_in_the_reference_is_a_route() {
    let reference = markdown();
    let (_, example) = reference.split_once("```toml\n[gateway]").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let settings =
        resolve(&format!("[gateway]{example}"), &[], &[("OPENAI_API_KEY", "x")]).unwrap();
    assert_eq!(settings.routes[0].options.disconnect, Disconnect::Grace { ms: 30_000 });
    assert_eq!(settings.routes[0].options.allow.len(), 4);
}

#[test]
fn the_kind_of_a_dialect_names_all_there_are() {
    let names = Dialect::ALL.map(Dialect::as_str).join(", ");
    let (most, last) = names.rsplit_once(", ").unwrap();
    assert_eq!(<Option<Dialect> as Value>::KIND, format!("auto, {most} or {last}"));
}
