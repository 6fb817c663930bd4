//! One match block, compiled, and the only function that says whether a request meets it (V-4 to V-10).
//!
//! `port`, `gateways`, `sourceLabels` and `sourceNamespace` are not here: they are about the gateway, and compile filters
//! by them (V-2, V-3). Matching allocates nothing, but for a condition on `:path`.

use std::fmt;

use http::header::{GetAll, HeaderName, HeaderValue};
use isthmus_config::istio::virtual_service::HttpMatchRequest;
use isthmus_config::value::StringMatch;
use smallvec::SmallVec;

use super::Head;
use super::pattern::{Pattern, PatternError};

/// Why a match block cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct MatchError {
    /// The field inside the match block, `headers.end-user`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How one text is compared.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Present,
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Pattern),
}

impl Text {
    fn compile(want: &StringMatch) -> Result<Self, PatternError> {
        Ok(match want {
            StringMatch::Present => Self::Present,
            StringMatch::Exact(text) => Self::Exact(text.as_str().into()),
            StringMatch::Prefix(text) => Self::Prefix(text.as_str().into()),
            // Istio reads a lone `*`, which is no regular expression, as "present" (V-9).
            StringMatch::Regex(text) if text == "*" => Self::Present,
            StringMatch::Regex(text) => Self::Regex(Pattern::new(text)?),
        })
    }
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(want) => want.as_bytes() == text,
            Self::Prefix(want) => text.starts_with(want.as_bytes()),
            Self::Regex(want) => want.matches(text),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("present"),
            Self::Exact(text) => write!(f, "exact {text:?}"),
            Self::Prefix(text) => write!(f, "prefix {text:?}"),
            Self::Regex(pattern) => write!(f, "regex {:?}", pattern.source()),
        }
    }
}

/// The condition on the path.
#[derive(Clone, Debug)]
pub(super) enum Uri {
    /// No `uri`, or one without a kind: any path, which is any text that begins with `/`.
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Pattern),
    /// Lower case, compared without case (V-7).
    ExactFolded(Box<str>),
    /// Lower case, compared without case (V-7).
    PrefixFolded(Box<str>),
}

impl Uri {
    fn compile(want: Option<&StringMatch>, fold: bool) -> Result<Self, PatternError> {
        Ok(match want {
            None | Some(StringMatch::Present) => Self::Any,
            Some(StringMatch::Exact(text)) if fold => Self::ExactFolded(text.to_ascii_lowercase().into()),
            Some(StringMatch::Prefix(text)) if fold => Self::PrefixFolded(text.to_ascii_lowercase().into()),
            Some(StringMatch::Exact(text)) => Self::Exact(text.as_str().into()),
            Some(StringMatch::Prefix(text)) => Self::Prefix(text.as_str().into()),
            Some(StringMatch::Regex(text)) => Self::Regex(Pattern::new(text)?),
        })
    }
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => path.starts_with('/'),
            Self::Exact(want) => path == &**want,
            Self::Prefix(want) => path.starts_with(&**want),
            Self::Regex(want) => want.matches(path.as_bytes()),
            Self::ExactFolded(want) => path.eq_ignore_ascii_case(want),
            Self::PrefixFolded(want) => path.get(..want.len()).is_some_and(|start| start.eq_ignore_ascii_case(want)),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("prefix \"/\""),
            Self::Exact(text) => write!(f, "exact {text:?}"),
            Self::Prefix(text) => write!(f, "prefix {text:?}"),
            Self::Regex(pattern) => write!(f, "regex {:?}", pattern.source()),
            Self::ExactFolded(text) => write!(f, "exact {text:?} in any case"),
            Self::PrefixFolded(text) => write!(f, "prefix {text:?} in any case"),
        }
    }
}

/// What of a request a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Method,
    Scheme,
    Authority,
    /// Path and query, which Envoy knows as the header `:path`.
    Path,
    Header(HeaderName),
    Query(Box<str>),
}

impl Source {
    /// A header name, where pseudo-headers and `host` mean parts of the request line.
    fn header(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":scheme" => Self::Scheme,
            ":authority" | "host" => Self::Authority,
            ":path" => Self::Path,
            name => Self::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }
    fn find<'a>(&'a self, head: &Head<'a>) -> Found<'a> {
        match self {
            Self::Method => Found::Text(head.method),
            Self::Scheme => Found::Text(head.scheme),
            Self::Authority => Found::Text(head.authority),
            Self::Path => Found::Target(head.path, head.query),
            Self::Header(name) if head.headers.contains_key(name) => Found::Values(head.headers.get_all(name)),
            Self::Header(_) => Found::Nothing,
            // The first of several values counts (V-10); nothing is decoded.
            Self::Query(name) => {
                let pairs = head.query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                pairs.filter(|(key, _)| *key == &**name).map(|(_, value)| Found::Text(value)).next().unwrap_or(Found::Nothing)
            }
        }
    }
}

/// The field of a match block in which a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Own(&'static str),
    Headers,
    WithoutHeaders,
    QueryParams,
}

/// One condition beside the path's.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    field: Field,
    name: Box<str>,
    pub(super) source: Source,
    pub(super) want: Text,
}

impl Condition {
    fn holds(&self, head: &Head<'_>) -> bool {
        match (self.field, self.source.find(head)) {
            (Field::Own(_) | Field::Headers | Field::QueryParams, found) => found.is_some() && found.matches(&self.want),
            // A missing header is an empty one, but `{}` asks whether it is there at all (V-9).
            (Field::WithoutHeaders, Found::Nothing) => matches!(self.want, Text::Present) || !self.want.matches(b""),
            (Field::WithoutHeaders, found) => !found.matches(&self.want),
        }
    }
    /// The text that must be there exactly, for the index.
    pub(super) fn exact(&self) -> Option<&str> {
        match (&self.want, self.field) {
            (Text::Exact(text), Field::Own(_) | Field::Headers | Field::QueryParams) => Some(text),
            (Text::Exact(_), Field::WithoutHeaders) | (Text::Present | Text::Prefix(_) | Text::Regex(_), _) => None,
        }
    }
}

/// What stood where a condition looked.
#[derive(Debug)]
enum Found<'a> {
    Nothing,
    Text(&'a str),
    Target(&'a str, Option<&'a str>),
    Values(GetAll<'a, HeaderValue>),
}

impl Found<'_> {
    fn is_some(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
    fn matches(&self, want: &Text) -> bool {
        match self {
            Self::Nothing => false,
            Self::Text(text) => want.matches(text.as_bytes()),
            Self::Target(path, None) => want.matches(path.as_bytes()),
            Self::Target(path, Some(query)) => want.matches(&[path.as_bytes(), query.as_bytes()].join(&b'?')),
            // Each of several fields of one name is compared by itself, as Envoy 1.40 does.
            Self::Values(values) => values.iter().any(|value| want.matches(value.as_bytes())),
        }
    }
}

/// The fields of one name as one list, joined by commas.
pub(super) fn joined(values: &GetAll<'_, HeaderValue>) -> SmallVec<[u8; 128]> {
    let mut all = SmallVec::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            all.push(b',');
        }
        all.extend_from_slice(value.as_bytes());
    }
    all
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Target(path, query) => write!(f, "{:?}", query.map_or_else(|| (*path).to_owned(), |q| format!("{path}?{q}"))),
            Self::Values(values) => write!(f, "{:?}", String::from_utf8_lossy(&joined(values))),
        }
    }
}

/// A compiled match block.
#[derive(Clone, Debug)]
pub struct Match {
    uri: Uri,
    conditions: Box<[Condition]>,
}

impl Match {
    /// The block that every request meets: a rule without `match`.
    pub fn any() -> Self {
        Self { uri: Uri::Any, conditions: Box::default() }
    }
    /// Compiles a block; what compile filters by is left out.
    pub fn compile(request: &HttpMatchRequest) -> Result<Self, MatchError> {
        let uri =
            Uri::compile(request.uri.as_ref(), request.ignore_uri_case).map_err(|e| MatchError { field: "uri".into(), reason: e.to_string() })?;
        let mut conditions = Vec::new();
        let own = [
            ("method", Source::Method, &request.method),
            ("authority", Source::Authority, &request.authority),
            ("scheme", Source::Scheme, &request.scheme),
        ];
        for (name, source, want) in own {
            if let Some(want) = want {
                conditions.push(condition(Field::Own(name), name, Some(source), want)?);
            }
        }
        for (field, list) in [(Field::Headers, &request.headers), (Field::WithoutHeaders, &request.without_headers)] {
            for (name, want) in list {
                conditions.push(condition(field, name, Source::header(name), want)?);
            }
        }
        for (name, want) in &request.query_params {
            conditions.push(condition(Field::QueryParams, name, Some(Source::Query(name.as_str().into())), want)?);
        }
        Ok(Self { uri, conditions: conditions.into() })
    }
    /// Whether a request meets every condition, or the first one that it does not meet.
    pub fn matches<'a>(&'a self, head: &Head<'a>) -> Result<(), Mismatch<'a>> {
        if !self.uri.matches(head.path) {
            return Err(Mismatch(Failed::Uri(&self.uri, head.path)));
        }
        match self.conditions.iter().find(|c| !c.holds(head)) {
            None => Ok(()),
            Some(failed) => Err(Mismatch(Failed::Condition(failed, failed.source.find(head)))),
        }
    }
    /// True for a rule that goes behind all others of its host (G-31, G-32).
    pub fn is_catch_all(&self) -> bool {
        let everywhere = match &self.uri {
            Uri::Any => true,
            Uri::Prefix(text) | Uri::PrefixFolded(text) => &**text == "/",
            Uri::Regex(pattern) => pattern.source() == ".*",
            Uri::Exact(_) | Uri::ExactFolded(_) => false,
        };
        everywhere && self.conditions.is_empty()
    }
    /// Length of the matched prefix, which a rewrite replaces; `None` where it replaces the whole path (V-48). A rule without
    /// `uri` matches the prefix `/`, so that one slash is replaced: `/foo` under `rewrite.uri: /x` becomes `/xfoo`, as on Istio.
    pub fn prefix_len(&self) -> Option<usize> {
        match &self.uri {
            Uri::Prefix(text) | Uri::PrefixFolded(text) => Some(text.len()),
            Uri::Any => Some(1),
            Uri::Exact(_) | Uri::ExactFolded(_) | Uri::Regex(_) => None,
        }
    }
    /// The path's condition as istioctl prints it: `/v2*`, `/exact`, `regex .*x`.
    pub fn path(&self) -> String {
        match &self.uri {
            Uri::Any => "/*".to_owned(),
            Uri::Exact(text) | Uri::ExactFolded(text) => text.to_string(),
            Uri::Prefix(text) | Uri::PrefixFolded(text) => format!("{text}*"),
            Uri::Regex(pattern) => format!("regex {}", pattern.source()),
        }
    }
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
    pub(super) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl fmt::Display for Match {
    /// The conditions in the words of Istio's fields, `uri prefix "/a", headers.x exact "b"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uri {}", self.uri)?;
        for condition in &self.conditions {
            match (condition.field, &condition.want) {
                (Field::WithoutHeaders, Text::Present) => write!(f, ", {} absent", place(condition))?,
                (Field::WithoutHeaders, want) => write!(f, ", {} not {want}", place(condition))?,
                (Field::Own(_) | Field::Headers | Field::QueryParams, want) => write!(f, ", {} {want}", place(condition))?,
            }
        }
        Ok(())
    }
}

fn condition(field: Field, name: &str, source: Option<Source>, want: &StringMatch) -> Result<Condition, MatchError> {
    let place = match field {
        Field::Own(name) => name.to_owned(),
        Field::Headers => format!("headers.{name}"),
        Field::WithoutHeaders => format!("withoutHeaders.{name}"),
        Field::QueryParams => format!("queryParams.{name}"),
    };
    if name.to_ascii_lowercase().starts_with("@request.auth.claims") && field != Field::QueryParams {
        return Err(MatchError { field: place, reason: "matching on JWT claims is not in force yet".into() });
    }
    let Some(source) = source else {
        return Err(MatchError { field: place, reason: format!("expected the name of a header, found {name:?}") });
    };
    let want = Text::compile(want).map_err(|e| MatchError { field: place, reason: e.to_string() })?;
    Ok(Condition { field, name: name.into(), source, want })
}

fn place(condition: &Condition) -> String {
    match condition.field {
        Field::Own(name) => name.to_owned(),
        Field::Headers => format!("headers.{}", condition.name),
        Field::WithoutHeaders => format!("withoutHeaders.{}", condition.name),
        Field::QueryParams => format!("queryParams.{}", condition.name),
    }
}

/// The condition that a request does not meet; `Display` tells it: `headers.end-user: expected exact "jason", found none`.
#[derive(Debug)]
pub struct Mismatch<'a>(Failed<'a>);

#[derive(Debug)]
enum Failed<'a> {
    Uri(&'a Uri, &'a str),
    Condition(&'a Condition, Found<'a>),
}

impl Mismatch<'_> {
    /// The field of the match block, `headers.end-user`.
    pub fn field(&self) -> String {
        match &self.0 {
            Failed::Uri(..) => "uri".to_owned(),
            Failed::Condition(condition, _) => place(condition),
        }
    }
    /// What the rule asks for, `exact "jason"`.
    pub fn expected(&self) -> String {
        match &self.0 {
            Failed::Uri(uri, _) => uri.to_string(),
            Failed::Condition(condition, _) => match (condition.field, &condition.want) {
                (Field::WithoutHeaders, Text::Present) => "none".to_owned(),
                (Field::WithoutHeaders, want) => format!("not {want}"),
                (Field::Own(_) | Field::Headers | Field::QueryParams, want) => want.to_string(),
            },
        }
    }
    /// What the request has, `"anna"` or `none`.
    pub fn found(&self) -> String {
        match &self.0 {
            Failed::Uri(_, path) => format!("{path:?}"),
            Failed::Condition(_, found) => found.to_string(),
        }
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.field(), self.expected(), self.found())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    /// A request written `METHOD scheme://authority/path?query`, with headers.
    fn check(spec: &str, request: &str, headers: &[(&'static str, &str)]) -> Result<(), String> {
        let spec: HttpMatchRequest = serde_json::from_str(spec).expect("a match block in JSON");
        let matches = Match::compile(&spec).expect("a match block that compiles");
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
            assert_eq!(Match::compile(&serde_json::from_str(spec).unwrap()).unwrap().is_catch_all(), want, "{spec}");
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
            assert_eq!(Match::compile(&serde_json::from_str(spec).unwrap()).map_err(|e| e.field).err().as_deref(), Some(want));
        }
    }
}
