//! What a route changes in a request's or a response's head, as values (V-45 to V-49, V-51).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use isthmus_config::istio::virtual_service::{HeaderOperations, HttpBody, HttpDirectResponse, HttpRewrite};
use isthmus_config::object::Labels;

use super::Head;
use super::format::{Facts, Fields, Format};
use super::matcher::Match;
use super::pattern::Substitution;
use super::patterns::Patterns;

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
///
/// Most rules have none, so that what is not there takes one word.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits(Option<Box<Edits>>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Edits {
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
        let authority = |edits: &Labels| edits.iter().find(|(name, _)| is_authority(name)).map(|(_, value)| value.clone());
        let authority = authority(&operations.set).filter(|a| !a.is_empty()).or_else(|| authority(&operations.add)).filter(|a| !a.is_empty());
        let edits = Edits::read(operations, is_authority)?;
        Ok(Self::of(Edits { authority: authority.as_deref().map(Box::from), ..edits }))
    }
    /// Edits of a response.
    pub fn response(operations: Option<&HeaderOperations>) -> Result<Self, EditError> {
        operations.map_or_else(|| Ok(Self::default()), |operations| Edits::read(operations, |_| false).map(Self::of))
    }
    fn of(edits: Edits) -> Self {
        Self((edits != Edits::default()).then(|| Box::new(edits)))
    }
    /// One level made of two: this one's operations, then `later`'s, as Istio joins rule and single destination (V-46).
    #[must_use]
    pub fn followed_by(self, later: &Self) -> Self {
        match (self.0, &later.0) {
            (own, None) => Self(own),
            (None, Some(_)) => later.clone(),
            (Some(mut own), Some(later)) => {
                own.follow(later);
                Self(Some(own))
            }
        }
    }
    /// True where nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
    /// The authority that these edits give to a request.
    pub fn authority(&self) -> Option<&str> {
        self.0.as_ref()?.authority.as_deref()
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
        if let Some(edits) = &self.0 {
            edits.apply(headers, render);
        }
    }
}

impl fmt::Debug for HeaderEdits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = Edits::default();
        let Edits { remove, set, add, authority } = self.0.as_deref().unwrap_or(&none);
        f.debug_struct("HeaderEdits").field("remove", remove).field("set", set).field("add", add).field("authority", authority).finish()
    }
}

impl Edits {
    fn read(operations: &HeaderOperations, skip: impl Fn(&str) -> bool) -> Result<Self, EditError> {
        let list = |kind: &str, map: &Labels| -> Result<Vec<(HeaderName, Value)>, EditError> {
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
    fn follow(&mut self, later: &Self) {
        self.remove.extend(later.remove.iter().cloned());
        self.set.extend(later.set.iter().cloned());
        self.add.extend(later.add.iter().cloned());
        if self.authority.is_none() {
            self.authority.clone_from(&later.authority);
        }
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
    /// Reads `rewrite`; its regex is one of `patterns`.
    pub fn new(rewrite: &HttpRewrite, patterns: &mut Patterns) -> Result<Self, EditError> {
        let path = match &rewrite.uri_regex_rewrite {
            Some(regex) => {
                PathRewrite::Regex(patterns.substitution(&regex.r#match, &regex.rewrite).map_err(|e| EditError::new("uriRegexRewrite", e))?)
            }
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
mod tests;
