//! What each condition of a match block means, as tables (V-4 to V-10, G-32).

use http::HeaderMap;

use super::*;

/// A request written `METHOD scheme://authority/path?query`, with headers.
fn check(spec: &str, request: &str, headers: &[(&'static str, &str)]) -> Result<(), String> {
    let spec: HttpMatchRequest = serde_json::from_str(spec).expect("a match block in JSON");
    let matches = Match::compile(&spec, &mut Patterns::default()).expect("a match block that compiles");
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a header value"));
    }
    matches.matches(&Head { method, scheme, authority, path, query, headers: &map }).map_err(|e| e.to_string())
}

#[test]
fn paths_v4_to_v7() {
    for (about, spec, request, want) in [
        ("Ex 12", r#"{"uri": {"prefix": "/foo"}}"#, "/foobar", true),
        ("Ex 12", r#"{"uri": {"prefix": "/foo"}}"#, "/foo?x=1", true),
        ("Ex 12", r#"{"uri": {"prefix": "/foo"}}"#, "/Foo", false),
        ("Ex 13", r#"{"uri": {"exact": "/foo"}}"#, "/foo/", false),
        ("Ex 13", r#"{"uri": {"exact": "/foo"}}"#, "/foo?x", true),
        ("Ex 14", r#"{"uri": {"regex": "/foo"}}"#, "/foo/1", false),
        ("V-6", r#"{"uri": {"regex": "/re/[0-9]+"}}"#, "/re/42?q", true),
        ("Ex 15", r#"{"uri": {"prefix": "/FOO"}, "ignoreUriCase": true}"#, "/foobar", true),
        ("V-7", r#"{"uri": {"exact": "/Foo"}, "ignoreUriCase": true}"#, "/fOO", true),
        ("V-7", r#"{"uri": {"exact": "/Foo"}, "ignoreUriCase": true}"#, "/fOOo", false),
        ("V-7: not a regex", r#"{"uri": {"regex": "/Foo"}, "ignoreUriCase": true}"#, "/foo", false),
        ("an empty prefix is any", r#"{"uri": {"prefix": ""}}"#, "/x", true),
        ("{} is any", r#"{"uri": {}}"#, "/x", true),
        ("any is any path, and * is none", "{}", "*", false),
        ("Ex 16: the second block", r#"{"uri": {"prefix": "/s"}}"#, "/s", true),
    ] {
        let request = if request == "*" { "a.com*".to_owned() } else { format!("a.com{request}") };
        assert_eq!(check(spec, &request, &[]).is_ok(), want, "{about}: {spec} {request}");
    }
}

#[test]
fn parts_of_the_request_line_v8() {
    for (about, spec, request, want) in [
        ("method", r#"{"method": {"exact": "POST"}}"#, "POST a.com/", true),
        ("method minds case", r#"{"method": {"exact": "post"}}"#, "POST a.com/", false),
        ("scheme", r#"{"scheme": {"exact": "https"}}"#, "GET https://a.com/", true),
        ("scheme", r#"{"scheme": {"exact": "https"}}"#, "GET http://a.com/", false),
        ("Ex 18", r#"{"authority": {"exact": "a.com"}}"#, "a.com:8080/", false),
        ("Ex 18", r#"{"authority": {"prefix": "a.com"}}"#, "a.com:8080/", true),
        ("authority minds case", r#"{"authority": {"exact": "a.com"}}"#, "A.com/", false),
        (
            "pseudo-headers",
            r#"{"headers": {":authority": {"exact": "a.com"}, ":method": {"exact": "GET"}, ":path": {"exact": "/x?y"}}}"#,
            "a.com/x?y",
            true,
        ),
        ("host is the authority", r#"{"headers": {"Host": {"exact": "b.com"}}}"#, "a.com/", false),
    ] {
        assert_eq!(check(spec, request, &[]).is_ok(), want, "{about}: {spec} {request}");
    }
}

#[test]
fn headers_v9() {
    let jason: &[(&str, &str)] = &[("x-user", "jason")];
    let twice: &[(&str, &str)] = &[("x-user", "a"), ("x-user", "b")];
    for (about, spec, headers, want) in [
        ("exact", r#"{"headers": {"X-User": {"exact": "jason"}}}"#, jason, true),
        ("values mind case", r#"{"headers": {"x-user": {"exact": "Jason"}}}"#, jason, false),
        ("missing", r#"{"headers": {"x-user": {"exact": "jason"}}}"#, &[], false),
        ("prefix", r#"{"headers": {"x-user": {"prefix": "ja"}}}"#, jason, true),
        ("regex", r#"{"headers": {"x-user": {"regex": "j.*n"}}}"#, jason, true),
        ("regex is whole", r#"{"headers": {"x-user": {"regex": "j.*o"}}}"#, jason, false),
        ("{} is present", r#"{"headers": {"x-user": {}}}"#, jason, true),
        ("{} is present", r#"{"headers": {"x-user": {}}}"#, &[], false),
        ("a regex * is present", r#"{"headers": {"x-user": {"regex": "*"}}}"#, &[("x-user", "")], true),
        ("several: any one", r#"{"headers": {"x-user": {"exact": "b"}}}"#, twice, true),
        ("several: not as a list", r#"{"headers": {"x-user": {"exact": "a,b"}}}"#, twice, false),
        ("several: none may be", r#"{"withoutHeaders": {"x-user": {"exact": "b"}}}"#, twice, false),
        ("several: not as a list", r#"{"withoutHeaders": {"x-user": {"exact": "a,b"}}}"#, twice, true),
        ("Ex 17: absent", r#"{"withoutHeaders": {"x-user": {"exact": "a"}}}"#, &[], true),
        ("Ex 17: a", r#"{"withoutHeaders": {"x-user": {"exact": "a"}}}"#, &[("x-user", "a")], false),
        ("Ex 17: b", r#"{"withoutHeaders": {"x-user": {"exact": "a"}}}"#, &[("x-user", "b")], true),
        ("absent is empty", r#"{"withoutHeaders": {"x-user": {"regex": ".*"}}}"#, &[], false),
        ("{} must be absent", r#"{"withoutHeaders": {"x-user": {}}}"#, jason, false),
        ("{} must be absent", r#"{"withoutHeaders": {"x-user": {}}}"#, &[], true),
        ("all must hold", r#"{"headers": {"x-user": {"exact": "jason"}, "x-any": {}}}"#, jason, false),
    ] {
        assert_eq!(check(spec, "a.com/", headers).is_ok(), want, "{about}: {spec} {headers:?}");
    }
}

#[test]
fn query_parameters_v10() {
    for (about, spec, target, want) in [
        ("Ex 20", r#"{"queryParams": {"debug": {}}}"#, "/?debug", true),
        ("Ex 20", r#"{"queryParams": {"debug": {}}}"#, "/?x=1", false),
        ("no query", r#"{"queryParams": {"debug": {}}}"#, "/", false),
        ("exact", r#"{"queryParams": {"debug": {"exact": "1"}, "any": {}}}"#, "/?any=&debug=1", true),
        ("other value", r#"{"queryParams": {"debug": {"exact": "1"}}}"#, "/?debug=2", false),
        ("the first value counts", r#"{"queryParams": {"debug": {"exact": "1"}}}"#, "/?debug=1&debug=2", true),
        ("the first value counts", r#"{"queryParams": {"debug": {"exact": "2"}}}"#, "/?debug=1&debug=2", false),
        ("prefix and regex", r#"{"queryParams": {"a": {"prefix": "x"}, "b": {"regex": "[0-9]"}}}"#, "/?a=xy&b=1", true),
        ("nothing is decoded", r#"{"queryParams": {"a": {"exact": "%61"}}}"#, "/?a=%61", true),
    ] {
        assert_eq!(check(spec, &format!("a.com{target}"), &[]).is_ok(), want, "{about}: {spec} {target}");
    }
}

#[test]
fn a_mismatch_names_the_condition() {
    for (spec, want) in [
        (r#"{"headers": {"end-user": {"exact": "jason"}}}"#, r#"headers.end-user: expected exact "jason", found none"#),
        (r#"{"headers": {"x-user": {"exact": "jason"}}}"#, r#"headers.x-user: expected exact "jason", found "anna""#),
        (r#"{"withoutHeaders": {"x-user": {"prefix": "a"}}}"#, r#"withoutHeaders.x-user: expected not prefix "a", found "anna""#),
        (r#"{"withoutHeaders": {"X-User": {}}}"#, r#"withoutHeaders.X-User: expected none, found "anna""#),
        (r#"{"uri": {"prefix": "/b"}}"#, r#"uri: expected prefix "/b", found "/a""#),
        (r#"{"uri": {"exact": "/B"}, "ignoreUriCase": true}"#, r#"uri: expected exact "/b" in any case, found "/a""#),
        (r#"{"method": {"regex": "P.*"}}"#, r#"method: expected regex "P.*", found "GET""#),
        (r#"{"queryParams": {"debug": {}}}"#, "queryParams.debug: expected present, found none"),
        (r#"{"headers": {":path": {"exact": "/"}}}"#, r#"headers.:path: expected exact "/", found "/a?q""#),
    ] {
        assert_eq!(check(spec, "GET http://a.com/a?q", &[("x-user", "anna")]), Err(want.to_owned()));
    }
}

#[test]
fn catch_all_g32() {
    for (spec, want) in [
        ("{}", true),
        (r#"{"port": 80, "gateways": ["g"], "sourceLabels": {"a": "b"}}"#, true),
        (r#"{"uri": {"prefix": "/"}}"#, true),
        (r#"{"uri": {"regex": ".*"}}"#, true),
        (r#"{"uri": {"exact": "/"}}"#, false),
        (r#"{"uri": {"prefix": "/a"}}"#, false),
        (r#"{"uri": {"prefix": "/"}, "method": {"exact": "GET"}}"#, false),
        (r#"{"headers": {"a": {}}}"#, false),
        (r#"{"withoutHeaders": {"a": {}}}"#, false),
        (r#"{"queryParams": {"a": {}}}"#, false),
    ] {
        assert_eq!(Match::compile(&serde_json::from_str(spec).unwrap(), &mut Patterns::default()).unwrap().is_catch_all(), want, "{spec}");
    }
    assert!(Match::any().is_catch_all());
}

#[test]
fn what_cannot_be_compiled_is_named() {
    for (spec, want) in [
        (r#"{"uri": {"regex": "("}}"#, "uri"),
        (r#"{"headers": {"x": {"regex": "("}}}"#, "headers.x"),
        (r#"{"headers": {"a b": {}}}"#, "headers.a b"),
        (r#"{"headers": {"@request.auth.claims.sub": {"exact": "x"}}}"#, "headers.@request.auth.claims.sub"),
    ] {
        assert_eq!(Match::compile(&serde_json::from_str(spec).unwrap(), &mut Patterns::default()).map_err(|e| e.field).err().as_deref(), Some(want));
    }
}
