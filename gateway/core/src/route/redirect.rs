//! Redirects: where a client is sent, to the letter (V-50, G-40).

use http::StatusCode;
use isthmus_config::istio::virtual_service::{HttpRedirect, RedirectPortSelection};

use super::Head;
use super::edit::{EditError, swap_prefix, with_query};
use super::host::without_port;
use super::matcher::Match;

/// A redirect of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<Box<str>>,
    authority: Option<Box<str>>,
    port: Port,
    path: Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// None of its own: the one in the request's Host may stay.
    Unset,
    Number(u32),
    Listener,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Path {
    Keep,
    Whole(Box<str>),
    Prefix(Box<str>),
}

impl Redirect {
    /// Reads `redirect`. Only 301, 302, 303, 307 and 308 take effect.
    pub fn new(redirect: &HttpRedirect) -> Result<Self, EditError> {
        let status = match redirect.redirect_code {
            0 | 301 => StatusCode::MOVED_PERMANENTLY,
            302 => StatusCode::FOUND,
            303 => StatusCode::SEE_OTHER,
            307 => StatusCode::TEMPORARY_REDIRECT,
            308 => StatusCode::PERMANENT_REDIRECT,
            other => return Err(EditError::new("redirectCode", format!("expected 301, 302, 303, 307 or 308, found {other}"))),
        };
        let port = match (redirect.port, redirect.derive_port) {
            (Some(number), _) => Port::Number(number),
            (None, Some(RedirectPortSelection::FromRequestPort)) => Port::Listener,
            (None, Some(RedirectPortSelection::FromProtocolDefault) | None) => Port::Unset,
        };
        let path = match (&*redirect.uri, &*redirect.prefix_rewrite) {
            ("", "") => Path::Keep,
            ("", prefix) => Path::Prefix(prefix.into()),
            (uri, _) => Path::Whole(uri.into()),
        };
        let text = |text: &str| Some(text).filter(|t| !t.is_empty()).map(Box::from);
        Ok(Self { status, scheme: text(&redirect.scheme), authority: text(&redirect.authority), port, path })
    }
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        self.status
    }
    /// The `location` to answer with. `listener_port` is the port that the request's listener stands for.
    pub fn location(&self, head: &Head<'_>, listener_port: u16, matched: &Match) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme);
        let number = match self.port {
            Port::Unset => None,
            Port::Number(number) => Some(number),
            Port::Listener => Some(u32::from(listener_port)),
        };
        let number = number.filter(|number| !matches!((scheme, *number), ("http", 80) | ("https", 443)));
        let host = match &self.authority {
            Some(authority) => authority,
            None => kept_host(head, scheme, number.is_some()),
        };
        let port = number.map(|number| format!(":{number}")).unwrap_or_default();
        let path = match &self.path {
            Path::Keep => with_query(head.path.to_owned(), head.query),
            // A query of the redirect's own wins over the request's.
            Path::Whole(uri) if uri.contains('?') => uri.to_string(),
            Path::Whole(uri) => with_query(uri.to_string(), head.query),
            Path::Prefix(new) => with_query(swap_prefix(head.path, new, matched), head.query),
        };
        format!("{scheme}://{host}{port}{path}")
    }
    /// The `location` of a virtual host that answers plaintext with a redirect to https; host, port and target stay (G-40).
    pub fn https_location(head: &Head<'_>) -> String {
        let target = with_query(head.path.to_owned(), head.query);
        format!("https://{}{target}", head.authority)
    }
}

/// The request's own host: its port goes when another is put there, or when it was the default of a scheme that is left.
fn kept_host<'a>(head: &Head<'a>, scheme: &str, other_port: bool) -> &'a str {
    let bare = without_port(head.authority);
    let port = &head.authority[bare.len()..];
    let left = scheme != head.scheme && matches!((head.scheme, port), ("http", ":80") | ("https", ":443"));
    if other_port || left { bare } else { head.authority }
}
