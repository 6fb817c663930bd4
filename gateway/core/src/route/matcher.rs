//! One match block, compiled, and the only function that says whether a request meets it (V-4 to V-10).
//!
//! `port`, `gateways`, `sourceLabels` and `sourceNamespace` are not here: they are about the gateway, and compile filters
//! by them (V-2, V-3). Matching allocates nothing, but for a condition on `:path`.

use std::fmt;
use std::sync::Arc;

use isthmus_config::istio::virtual_service::HttpMatchRequest;
use isthmus_config::value::StringMatch;

use super::Head;
use super::condition::{Condition, Field, Found, Source};
use super::pattern::{Pattern, PatternError};
use super::patterns::Patterns;

/// Why a match block cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct MatchError {
    /// The field inside the match block, `headers.end-user`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    fn compile(want: Option<&StringMatch>, fold: bool, patterns: &mut Patterns) -> Result<Self, PatternError> {
        Ok(match want {
            None | Some(StringMatch::Present) => Self::Any,
            Some(StringMatch::Exact(text)) if fold => Self::ExactFolded(text.to_ascii_lowercase().into()),
            Some(StringMatch::Prefix(text)) if fold => Self::PrefixFolded(text.to_ascii_lowercase().into()),
            Some(StringMatch::Exact(text)) => Self::Exact(text.as_str().into()),
            Some(StringMatch::Prefix(text)) => Self::Prefix(text.as_str().into()),
            Some(StringMatch::Regex(text)) => Self::Regex(patterns.pattern(text)?),
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

/// A compiled match block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    uri: Uri,
    conditions: Box<[Condition]>,
}

impl Match {
    /// The block that every request meets: a rule without `match`.
    pub fn any() -> Self {
        Self { uri: Uri::Any, conditions: Box::default() }
    }
    /// Compiles a block; what compile filters by is left out. Its regexes are those of `patterns`.
    pub fn compile(request: &HttpMatchRequest, patterns: &mut Patterns) -> Result<Self, MatchError> {
        let uri = Uri::compile(request.uri.as_ref(), request.ignore_uri_case, patterns)
            .map_err(|e| MatchError { field: "uri".into(), reason: e.to_string() })?;
        let mut conditions = Vec::new();
        let own = [
            ("method", Source::Method, &request.method),
            ("authority", Source::Authority, &request.authority),
            ("scheme", Source::Scheme, &request.scheme),
        ];
        for (name, source, want) in own {
            if let Some(want) = want {
                conditions.push(Condition::compile(Field::Own(name), name, Some(source), want, patterns)?);
            }
        }
        for (field, list) in [(Field::Headers, &request.headers), (Field::WithoutHeaders, &request.without_headers)] {
            for (name, want) in list {
                conditions.push(Condition::compile(field, name, Source::header(name), want, patterns)?);
            }
        }
        for (name, want) in &request.query_params {
            conditions.push(Condition::compile(Field::QueryParams, name, Some(Source::Query((**name).into())), want, patterns)?);
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
            Uri::Regex(pattern) => **pattern.source() == *".*",
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
    /// The regex that the whole path must match.
    pub(super) fn regex(&self) -> Option<&Arc<str>> {
        match &self.uri {
            Uri::Regex(pattern) => Some(pattern.source()),
            Uri::Any | Uri::Exact(_) | Uri::Prefix(_) | Uri::ExactFolded(_) | Uri::PrefixFolded(_) => None,
        }
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
            write!(f, ", {} {}", condition.place(), condition.asked("absent"))?;
        }
        Ok(())
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
            Failed::Condition(condition, _) => condition.place(),
        }
    }
    /// What the rule asks for, `exact "jason"`.
    pub fn expected(&self) -> String {
        match &self.0 {
            Failed::Uri(uri, _) => uri.to_string(),
            Failed::Condition(condition, _) => condition.asked("none"),
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
mod tests;
