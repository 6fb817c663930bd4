//! One request as it arrived, whichever protocol brought it.

use std::ops::Range;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, Method};
use isthmus_core::failure::Failure;
use isthmus_core::route::{Head, PathNormalization, Target};

/// A request's head, settled for matching and forwarding.
#[derive(Debug)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: Method,
    /// The target as the client wrote it.
    pub(crate) target: String,
    /// The authority that counts: of an absolute target, else of `:authority` or `host`.
    pub(crate) authority: String,
    /// The fields, without `host`.
    pub(crate) headers: HeaderMap,
    /// How it came.
    pub(crate) version: Version,
    /// The length of its body, where it was told.
    pub(crate) length: Option<u64>,
    /// A body follows.
    pub(crate) has_body: bool,
    /// It asks to become a tunnel.
    pub(crate) upgrade: bool,
    /// When its first byte came.
    pub(crate) started: Instant,
    /// The same on the wall.
    pub(crate) wall: SystemTime,
    path: Path,
    query: Option<Range<usize>>,
}

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As the access log writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

#[derive(Debug)]
enum Path {
    /// A part of the target.
    Part(Range<usize>),
    /// It was changed by normalisation.
    Changed(String),
}

impl Request {
    /// A request whose target has not been looked at.
    pub(crate) fn new(method: Method, target: String, authority: String, headers: HeaderMap, version: Version) -> Self {
        let (started, wall) = (Instant::now(), SystemTime::now());
        let path = Path::Part(0..target.len());
        Self { method, target, authority, headers, version, length: None, has_body: false, upgrade: false, started, wall, path, query: None }
    }
    /// The same request with a body of `length` bytes, for a mirror.
    pub(crate) fn copy(&self, length: u64) -> Self {
        let mut copy = Self::new(self.method.clone(), self.onward().into_owned(), self.authority.clone(), HeaderMap::new(), self.version);
        copy.length = Some(length).filter(|n| *n > 0);
        copy
    }
    /// Splits and normalises the target; an absolute one names the authority (8.2).
    pub(crate) fn settle(&mut self, mode: PathNormalization) -> Result<(), Failure> {
        let target = Target::parse(&self.target, mode).map_err(|_| Failure::BadPath)?;
        let within = |part: &str| {
            let start = part.as_ptr().addr() - self.target.as_ptr().addr();
            start..start + part.len()
        };
        self.query = target.query.map(within);
        let authority = target.authority.map(str::to_owned);
        self.path = match target.path {
            std::borrow::Cow::Borrowed("/") if target.authority.is_some() => Path::Changed("/".to_owned()),
            std::borrow::Cow::Borrowed(path) => Path::Part(within(path)),
            std::borrow::Cow::Owned(path) => Path::Changed(path),
        };
        if let Some(authority) = authority {
            self.authority = authority;
        }
        Ok(())
    }
    /// The path, normalised.
    pub(crate) fn path(&self) -> &str {
        match &self.path {
            Path::Part(range) => &self.target[range.clone()],
            Path::Changed(path) => path,
        }
    }
    /// What follows the first `?`.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.clone().map(|range| &self.target[range])
    }
    /// Path and query for the endpoint, where no rule changes them.
    pub(crate) fn onward(&self) -> std::borrow::Cow<'_, str> {
        match (&self.path, self.query()) {
            (Path::Part(range), None) => self.target[range.clone()].into(),
            (Path::Part(range), Some(_)) => self.target[range.start..].into(),
            (Path::Changed(path), None) => path.as_str().into(),
            (Path::Changed(path), Some(query)) => format!("{path}?{query}").into(),
        }
    }
    /// What is matched.
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            method: self.method.as_str(),
            scheme: "http",
            authority: &self.authority,
            path: self.path(),
            query: self.query(),
            headers: &self.headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_settled_8_2() {
        for (target, authority, path, query, onward) in [
            ("/a?b", "h", "/a", Some("b"), "/a?b"),
            ("/a/../b?c", "h", "/b", Some("c"), "/b?c"),
            ("/a?", "h", "/a", Some(""), "/a?"),
            ("http://x:1/a?b", "x:1", "/a", Some("b"), "/a?b"),
            ("http://x", "x", "/", None, "/"),
            ("http://x?q", "x", "/", Some("q"), "/?q"),
        ] {
            let mut request = Request::new(Method::GET, target.to_owned(), "h".to_owned(), HeaderMap::new(), Version::Http11);
            request.settle(PathNormalization::Base).unwrap();
            assert_eq!((&*request.authority, request.path(), request.query(), &*request.onward()), (authority, path, query, onward), "{target}");
        }
        let mut request = Request::new(Method::GET, "/a#b".to_owned(), String::new(), HeaderMap::new(), Version::Http11);
        assert_eq!(request.settle(PathNormalization::Base), Err(Failure::BadPath));
    }
}
