//! Edits of heads, rewrites and authorities, row by row (V-45 to V-49).

use isthmus_config::istio::virtual_service::HttpMatchRequest;

use super::super::format::tests::FACTS;
use super::*;

fn edits(spec: &str) -> Result<HeaderEdits, EditError> {
    HeaderEdits::request(Some(&serde_json::from_str(spec).expect("operations in JSON")))
}

fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn check(about: &str, levels: &[HeaderEdits], sent: &[(&'static str, &str)], want: &[(&'static str, &str)]) {
    let mut headers = fields(sent);
    for level in levels {
        level.apply_to_request(&mut headers, &FACTS);
    }
    assert_eq!(headers, fields(want), "{about}");
}

#[test]
fn one_level_removes_then_sets_then_adds_v45() {
    for (about, spec, sent, want) in [
        ("set replaces all", r#"{"set": {"x": "n"}}"#, &[("x", "1"), ("x", "2")][..], &[("x", "n")][..]),
        ("add appends", r#"{"add": {"x": "2"}}"#, &[("x", "1")], &[("x", "1"), ("x", "2")]),
        ("remove first", r#"{"remove": ["x"], "add": {"x": "2"}}"#, &[("x", "1")], &[("x", "2")]),
        ("set before add", r#"{"set": {"x": "a"}, "add": {"x": "b"}}"#, &[("x", "1")], &[("x", "a"), ("x", "b")]),
        ("names in any case", r#"{"set": {"X-A": "n"}, "remove": ["Y"]}"#, &[("x-a", "1"), ("y", "1")], &[("x-a", "n")]),
        ("an empty value does nothing", r#"{"set": {"x": ""}, "add": {"y": ""}}"#, &[("x", "1")], &[("x", "1")]),
        (
            "a format",
            r#"{"set": {"x": "%REQ(y)%-%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "z": "100%%"}}"#,
            &[("y", "1")],
            &[("y", "1"), ("x", "1-1.2.3.4"), ("z", "100%")],
        ),
        ("a format reads what was there before", r#"{"set": {"x": "new", "y": "%REQ(x)%"}}"#, &[("x", "old")], &[("x", "new"), ("y", "old")]),
        ("a format without value does nothing", r#"{"set": {"x": "%REQ(none)%"}}"#, &[("x", "1")], &[("x", "1")]),
    ] {
        check(about, &[edits(spec).unwrap()], sent, want);
    }
}

#[test]
fn two_levels_v46() {
    let rule = edits(r#"{"set": {"x": "r"}, "add": {"y": "r"}}"#).unwrap();
    let destination = edits(r#"{"set": {"x": "d"}, "remove": ["y"]}"#).unwrap();
    check("Ex 42: one destination", &[rule.clone().followed_by(&destination)], &[("y", "1")], &[("x", "d"), ("y", "r")]);
    check("Ex 43: several", &[destination, rule], &[("y", "1")], &[("x", "r"), ("y", "r")]);
}

#[test]
fn authorities_v47() {
    let named = |a: &str| edits(&format!(r#"{{"set": {{":authority": "{a}"}}}}"#)).unwrap();
    let both = edits(r#"{"set": {"Host": "set"}, "add": {":authority": "add"}}"#).unwrap();
    let rewrite = Rewrite::new(&HttpRewrite { authority: "rewrite".into(), ..HttpRewrite::default() }, &mut Patterns::default()).unwrap();
    let none = HeaderEdits::default();
    for (about, rewrite, rule, destination, want) in [
        ("rewrite first", Some(&rewrite), &named("rule"), &named("destination"), Some("rewrite")),
        ("then the rule", None, &named("rule"), &named("destination"), Some("rule")),
        ("set before add", None, &both, &none, Some("set")),
        ("then the destination", None, &none, &named("destination"), Some("destination")),
        ("none", None, &none, &none, None),
    ] {
        assert_eq!(authority(rewrite, rule, destination), want, "{about}");
    }
    assert_eq!(named("rule").followed_by(&named("destination")).authority(), Some("rule"));
}

#[test]
fn what_cannot_be_edited_is_named() {
    for (spec, field) in [
        (r#"{"set": {"a b": "x"}}"#, "set.a b"),
        (r#"{"add": {"x": "%NO_SUCH%"}}"#, "add.x"),
        (r#"{"add": {"x": "50%"}}"#, "add.x"),
        (r#"{"remove": ["x", "host"]}"#, "remove[1]"),
        (r#"{"set": {":path": "/"}}"#, "set.:path"),
    ] {
        assert_eq!(edits(spec).map_err(|e| e.field), Err(field.to_owned()));
    }
    let host = serde_json::from_str(r#"{"set": {"host": "x"}}"#).unwrap();
    assert!(HeaderEdits::response(Some(&host)).is_err(), "1.4: a response has no host");
}

#[test]
fn rewrites_v48_v49() {
    for (about, matched, rewrite, path, query, want) in [
        ("Ex 34", r#"{"uri": {"prefix": "/foo"}}"#, r#"{"uri": "/"}"#, "/foo/bar", Some("q=1"), "//bar?q=1"),
        ("Ex 35", r#"{"uri": {"prefix": "/foo/"}}"#, r#"{"uri": "/"}"#, "/foo/bar", None, "/bar"),
        ("Ex 36", r#"{"uri": {"exact": "/foo"}}"#, r#"{"uri": "/x"}"#, "/foo", Some("q=1"), "/x?q=1"),
        (
            "Ex 37",
            r#"{"uri": {"prefix": "/svc"}}"#,
            r#"{"uriRegexRewrite": {"match": "^/svc/([^/]+)(/.*)$", "rewrite": "\\2"}}"#,
            "/svc/a/b",
            None,
            "/b",
        ),
        ("a question mark of its own", "{}", r#"{"uriRegexRewrite": {"match": "^/svc/([^/]+)(/.*)$", "rewrite": "\\2?"}}"#, "/svc/a/b", None, "/b?"),
        ("regex: the whole path", r#"{"uri": {"regex": "/r/.*"}}"#, r#"{"uri": "/whole"}"#, "/r/x", Some("q=1"), "/whole?q=1"),
        ("no uri: the slash at the front", "{}", r#"{"uri": "/whole"}"#, "/r/x", None, "/wholer/x"),
        ("any case", r#"{"uri": {"prefix": "/FOO"}, "ignoreUriCase": true}"#, r#"{"uri": "/x"}"#, "/foo/bar", None, "/x/bar"),
        ("no match of the pattern", "{}", r#"{"uriRegexRewrite": {"match": "^/no", "rewrite": "/x"}}"#, "/svc", None, "/svc"),
    ] {
        let matched: HttpMatchRequest = serde_json::from_str(matched).unwrap();
        let matched = Match::compile(&matched, &mut Patterns::default()).unwrap();
        let rewrite = Rewrite::new(&serde_json::from_str(rewrite).unwrap(), &mut Patterns::default()).unwrap();
        let headers = HeaderMap::new();
        let head = Head { method: "GET", scheme: "http", authority: "a", path, query, headers: &headers };
        assert_eq!(rewrite.target(&head, &matched).as_deref(), Some(want), "{about}");
    }
    let authority_only = Rewrite::new(&HttpRewrite { authority: "b".into(), ..HttpRewrite::default() }, &mut Patterns::default()).unwrap();
    let headers = HeaderMap::new();
    let head = Head { method: "GET", scheme: "http", authority: "a", path: "/a", query: None, headers: &headers };
    assert_eq!(authority_only.target(&head, &Match::any()), None);
}

#[test]
fn direct_responses_v51() {
    for (spec, want) in [
        (r#"{"status": 418, "body": {"string": "short"}}"#, Some((418, &b"short"[..]))),
        (r#"{"status": 200, "body": {"bytes": "AAE="}}"#, Some((200, &[0, 1]))),
        (r#"{"status": 503}"#, Some((503, b""))),
        (r#"{"status": 70000}"#, None),
    ] {
        let got = DirectResponse::new(&serde_json::from_str(spec).unwrap());
        assert_eq!(got.ok().map(|r| (r.status.as_u16(), r.body.to_vec())), want.map(|(s, b)| (s, b.to_vec())), "{spec}");
    }
}
