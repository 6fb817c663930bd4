//! What a route changes in a request's or a response's head, as values (V-45 to V-49, V-51).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use isthmus_config::istio::virtual_service::{HeaderOperations, HttpBody, HttpDirectResponse, HttpRewrite};

use super::Head;
use super::format::{Facts, Fields, Format};
use super::matcher::Match;
use super::pattern::Substitution;

/// Why an edit cannot be made; the field is relative to the message that was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct EditError {
    /// `set.x-user`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl EditError {
    pub(super) fn new(field: impl Into<String>, reason: impl ToString) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// Header edits of one level. Removals come first, then all `set`, then all `add`, each in order of names (V-45).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
    authority: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Fixed(HeaderValue),
    Format(Format),
}

impl HeaderEdits {
    /// Edits of a request; `:authority` or `host` among them names a new authority (V-47).
    pub fn request(operations: Option<&HeaderOperations>) -> Result<Self, EditError> {
        let Some(operations) = operations else { return Ok(Self::default()) };
        let authority =
            |map: &std::collections::BTreeMap<String, String>| map.iter().find(|(name, _)| is_authority(name)).map(|(_, value)| value.clone());
        let authority = authority(&operations.set).filter(|a| !a.is_empty()).or_else(|| authority(&operations.add)).filter(|a| !a.is_empty());
        let mut edits = Self::read(operations, is_authority)?;
        edits.authority = authority.map(Box::from);
        Ok(edits)
    }
    /// Edits of a response.
    pub fn response(operations: Option<&HeaderOperations>) -> Result<Self, EditError> {
        operations.map_or_else(|| Ok(Self::default()), |operations| Self::read(operations, |_| false))
    }
    fn read(operations: &HeaderOperations, skip: impl Fn(&str) -> bool) -> Result<Self, EditError> {
        let list = |kind: &str, map: &std::collections::BTreeMap<String, String>| -> Result<Vec<(HeaderName, Value)>, EditError> {
            let mut list = Vec::with_capacity(map.len());
            for (name, text) in map.iter().filter(|(name, _)| !skip(name)) {
                let field = || format!("{kind}.{name}");
                let parsed = header_name(name).map_err(|e| EditError::new(field(), e))?;
                let format = Format::parse(text).map_err(|e| EditError::new(field(), e))?;
                let value = match format.literal() {
                    Some(text) => Value::Fixed(HeaderValue::from_bytes(text.as_bytes()).map_err(|e| EditError::new(field(), e))?),
                    None => Value::Format(format),
                };
                // Envoy neither sets nor adds a header whose value is empty.
                if value != Value::Fixed(HeaderValue::from_static("")) {
                    list.push((parsed, value));
                }
            }
            list.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
            Ok(list)
        };
        let names = operations.remove.iter().enumerate();
        let remove = names.map(|(i, name)| header_name(name).map_err(|e| EditError::new(format!("remove[{i}]"), e))).collect::<Result<_, _>>()?;
        Ok(Self { remove, set: list("set", &operations.set)?, add: list("add", &operations.add)?, authority: None })
    }
    /// One level made of two: this one's operations, then `later`'s, as Istio joins rule and single destination (V-46).
    #[must_use]
    pub fn followed_by(mut self, later: &Self) -> Self {
        self.remove.extend(later.remove.iter().cloned());
        self.set.extend(later.set.iter().cloned());
        self.add.extend(later.add.iter().cloned());
        self.authority = self.authority.or_else(|| later.authority.clone());
        self
    }
    /// True where nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty() && self.authority.is_none()
    }
    /// The authority that these edits give to a request.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }
    /// Edits a request's fields; the authority is the caller's to change, see [`authority`].
    pub fn apply_to_request(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        self.apply(headers, |format, headers| format.render(facts, &Fields { request: headers, response: None }));
    }
    /// Edits a response's fields, reading those of the request where a format names them.
    pub fn apply_to_response(&self, status: u16, headers: &mut HeaderMap, request: &HeaderMap, facts: &Facts<'_>) {
        self.apply(headers, |format, headers| format.render(facts, &Fields { request, response: Some((status, headers)) }));
    }
    fn apply(&self, headers: &mut HeaderMap, render: impl Fn(&Format, &HeaderMap) -> Vec<u8>) {
        for name in &self.remove {
            headers.remove(name);
        }
        // Formats read the headers as they are after the removals and before every other edit, as in Envoy.
        let rendered: Vec<Option<HeaderValue>> = {
            let values = self.set.iter().chain(&self.add).map(|(_, value)| value);
            let formats = values.filter_map(|value| match value {
                Value::Format(format) => Some(format),
                Value::Fixed(_) => None,
            });
            formats.map(|format| HeaderValue::from_bytes(&render(format, headers)).ok().filter(|v| !v.is_empty())).collect()
        };
        let mut rendered = rendered.into_iter();
        let mut next = |value: &Value| match value {
            Value::Fixed(value) => Some(value.clone()),
            Value::Format(_) => rendered.next().flatten(),
        };
        for (name, value) in &self.set {
            if let Some(value) = next(value) {
                headers.insert(name, value);
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = next(value) {
                headers.append(name, value);
            }
        }
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    if is_authority(name) {
        return Err(format!("{name} cannot be edited here"));
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("expected the name of a header, found {name:?}"))
}

/// The authority that a request goes on with: the rewrite's, else the rule's, else the destination's (V-47).
pub fn authority<'a>(rewrite: Option<&'a Rewrite>, rule: &'a HeaderEdits, destination: &'a HeaderEdits) -> Option<&'a str> {
    rewrite.and_then(|r| r.authority.as_deref()).or(rule.authority()).or(destination.authority())
}

/// What becomes of path and authority (V-48, V-49).
#[derive(Clone, Debug)]
pub struct Rewrite {
    path: PathRewrite,
    authority: Option<Box<str>>,
}

#[derive(Clone, Debug)]
enum PathRewrite {
    Keep,
    Prefix(Box<str>),
    Regex(Substitution),
}

impl Rewrite {
    /// Reads `rewrite`.
    pub fn new(rewrite: &HttpRewrite) -> Result<Self, EditError> {
        let path = match &rewrite.uri_regex_rewrite {
            Some(regex) => PathRewrite::Regex(Substitution::new(&regex.r#match, &regex.rewrite).map_err(|e| EditError::new("uriRegexRewrite", e))?),
            None if rewrite.uri.is_empty() => PathRewrite::Keep,
            None => PathRewrite::Prefix(rewrite.uri.as_str().into()),
        };
        Ok(Self { path, authority: Some(rewrite.authority.as_str()).filter(|a| !a.is_empty()).map(Box::from) })
    }
    /// The new path. Nothing is repaired: a doubled slash stays (V-48).
    pub fn apply<'a>(&self, path: &'a str, matched: &Match) -> Cow<'a, str> {
        match &self.path {
            PathRewrite::Keep => Cow::Borrowed(path),
            PathRewrite::Prefix(new) => Cow::Owned(swap_prefix(path, new, matched)),
            PathRewrite::Regex(substitution) => substitution.apply(path).map_or(Cow::Borrowed(path), Cow::Owned),
        }
    }
    /// The new path with the query of the request, where this edits the path at all.
    pub fn target(&self, head: &Head<'_>, matched: &Match) -> Option<String> {
        match &self.path {
            PathRewrite::Keep => None,
            PathRewrite::Prefix(_) | PathRewrite::Regex(_) => Some(with_query(self.apply(head.path, matched).into_owned(), head.query)),
        }
    }
}

/// The path with its matched prefix, or all of it where no prefix was matched, replaced (V-48).
pub(super) fn swap_prefix(path: &str, new: &str, matched: &Match) -> String {
    let rest = matched.prefix_len().and_then(|len| path.get(len..)).unwrap_or_default();
    [new, rest].concat()
}

pub(super) fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// An answer that the gateway gives by itself (V-51). Its content type comes from the rule's response headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, often empty.
    pub body: Bytes,
}

impl DirectResponse {
    /// Reads `directResponse`.
    pub fn new(response: &HttpDirectResponse) -> Result<Self, EditError> {
        let status = u16::try_from(response.status).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| EditError::new("status", format!("expected 200 to 599, found {}", response.status)))?;
        let body = match &response.body {
            None => Bytes::new(),
            Some(HttpBody::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(HttpBody::Bytes(bytes)) => Bytes::copy_from_slice(&bytes.0),
        };
        Ok(Self { status, body })
    }
}

#[cfg(test)]
mod tests {
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
        let rewrite = Rewrite::new(&HttpRewrite { authority: "rewrite".into(), ..HttpRewrite::default() }).unwrap();
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
            (
                "a question mark of its own",
                "{}",
                r#"{"uriRegexRewrite": {"match": "^/svc/([^/]+)(/.*)$", "rewrite": "\\2?"}}"#,
                "/svc/a/b",
                None,
                "/b?",
            ),
            ("regex: the whole path", r#"{"uri": {"regex": "/r/.*"}}"#, r#"{"uri": "/whole"}"#, "/r/x", Some("q=1"), "/whole?q=1"),
            ("no uri: the slash at the front", "{}", r#"{"uri": "/whole"}"#, "/r/x", None, "/wholer/x"),
            ("any case", r#"{"uri": {"prefix": "/FOO"}, "ignoreUriCase": true}"#, r#"{"uri": "/x"}"#, "/foo/bar", None, "/x/bar"),
            ("no match of the pattern", "{}", r#"{"uriRegexRewrite": {"match": "^/no", "rewrite": "/x"}}"#, "/svc", None, "/svc"),
        ] {
            let matched: HttpMatchRequest = serde_json::from_str(matched).unwrap();
            let matched = Match::compile(&matched).unwrap();
            let rewrite = Rewrite::new(&serde_json::from_str(rewrite).unwrap()).unwrap();
            let headers = HeaderMap::new();
            let head = Head { method: "GET", scheme: "http", authority: "a", path, query, headers: &headers };
            assert_eq!(rewrite.target(&head, &matched).as_deref(), Some(want), "{about}");
        }
        let authority_only = Rewrite::new(&HttpRewrite { authority: "b".into(), ..HttpRewrite::default() }).unwrap();
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
}
