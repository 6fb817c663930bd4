//! One condition beside the path's: where it looks, what it asks for, and what stood there (V-8 to V-10).

use std::fmt;

use http::header::{GetAll, HeaderName, HeaderValue};
use isthmus_config::value::StringMatch;
use smallvec::SmallVec;

use super::Head;
use super::matcher::MatchError;
use super::pattern::{Pattern, PatternError};
use super::patterns::Patterns;

/// How one text is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Present,
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Pattern),
}

impl Text {
    fn compile(want: &StringMatch, patterns: &mut Patterns) -> Result<Self, PatternError> {
        Ok(match want {
            StringMatch::Present => Self::Present,
            StringMatch::Exact(text) => Self::Exact(text.as_str().into()),
            StringMatch::Prefix(text) => Self::Prefix(text.as_str().into()),
            // Istio reads a lone `*`, which is no regular expression, as "present" (V-9).
            StringMatch::Regex(text) if text == "*" => Self::Present,
            StringMatch::Regex(text) => Self::Regex(patterns.pattern(text)?),
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
    pub(super) fn header(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":scheme" => Self::Scheme,
            ":authority" | "host" => Self::Authority,
            ":path" => Self::Path,
            name => Self::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }
    pub(super) fn find<'a>(&'a self, head: &Head<'a>) -> Found<'a> {
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
pub(super) enum Field {
    Own(&'static str),
    Headers,
    WithoutHeaders,
    QueryParams,
}

/// One condition beside the path's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    field: Field,
    name: Box<str>,
    pub(super) source: Source,
    want: Text,
}

impl Condition {
    /// Compiles one; `source` is `None` where the name is none that a header can have.
    pub(super) fn compile(field: Field, name: &str, source: Option<Source>, want: &StringMatch, patterns: &mut Patterns) -> Result<Self, MatchError> {
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
        let want = Text::compile(want, patterns).map_err(|e| MatchError { field: place, reason: e.to_string() })?;
        Ok(Self { field, name: name.into(), source, want })
    }
    pub(super) fn holds(&self, head: &Head<'_>) -> bool {
        match (self.field, self.source.find(head)) {
            (Field::Own(_) | Field::Headers | Field::QueryParams, found) => found.is_some() && found.matches(&self.want),
            // A missing header is an empty one, but `{}` asks whether it is there at all (V-9).
            (Field::WithoutHeaders, Found::Nothing) => matches!(self.want, Text::Present) || !self.want.matches(b""),
            (Field::WithoutHeaders, found) => !found.matches(&self.want),
        }
    }
    /// Where it stands in the match block, `headers.end-user`.
    pub(super) fn place(&self) -> String {
        match self.field {
            Field::Own(name) => name.to_owned(),
            Field::Headers => format!("headers.{}", self.name),
            Field::WithoutHeaders => format!("withoutHeaders.{}", self.name),
            Field::QueryParams => format!("queryParams.{}", self.name),
        }
    }
    /// What it asks for, `exact "jason"`; `nothing` where it asks that there be none.
    pub(super) fn asked(&self, nothing: &str) -> String {
        match (self.field, &self.want) {
            (Field::WithoutHeaders, Text::Present) => nothing.to_owned(),
            (Field::WithoutHeaders, want) => format!("not {want}"),
            (Field::Own(_) | Field::Headers | Field::QueryParams, want) => want.to_string(),
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
pub(super) enum Found<'a> {
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
