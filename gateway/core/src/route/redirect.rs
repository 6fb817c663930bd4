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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::route::Patterns;

    fn check(spec: &str, matched: &str, url: &str, listener: u16) -> (u16, String) {
        let spec: HttpRedirect = serde_json::from_str(spec).expect("a redirect in JSON");
        let matched =
            Match::compile(&serde_json::from_str(matched).expect("a match in JSON"), &mut Patterns::default()).expect("a match that compiles");
        let (scheme, rest) = url.split_once("://").expect("an absolute URL");
        let (authority, target) = rest.split_at(rest.find('/').expect("a path"));
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let headers = HeaderMap::new();
        let redirect = Redirect::new(&spec).expect("a redirect that compiles");
        let head = Head { method: "GET", scheme, authority, path, query, headers: &headers };
        (redirect.status().as_u16(), redirect.location(&head, listener, &matched))
    }

    #[test]
    fn locations_v50() {
        let any = "{}";
        let prefix = r#"{"uri": {"prefix": "/pfx/"}}"#;
        for (about, spec, matched, url, listener, want) in [
            ("Ex 38", r#"{"scheme": "https", "redirectCode": 308}"#, any, "http://a.com:80/x?y", 80, (308, "https://a.com/x?y")),
            ("Ex 39", r#"{"derivePort": "FROM_REQUEST_PORT", "authority": "b.com"}"#, any, "http://a.com/x", 8080, (301, "http://b.com:8080/x")),
            ("observed", r#"{"port": 80}"#, any, "http://a.com:8080/", 8080, (301, "http://a.com:8080/")),
            (
                "observed",
                r#"{"derivePort": "FROM_PROTOCOL_DEFAULT", "scheme": "https"}"#,
                any,
                "http://a.com:8080/",
                8080,
                (301, "https://a.com:8080/"),
            ),
            ("observed", r#"{"port": 443, "scheme": "https"}"#, any, "http://a.com:80/", 80, (301, "https://a.com/")),
            ("to https", r#"{"scheme": "https", "redirectCode": 308}"#, any, "http://a.com:80/https/x?y=1", 80, (308, "https://a.com/https/x?y=1")),
            ("moved", r#"{"uri": "/new", "authority": "b.com"}"#, any, "http://a.com/moved/x?y=1", 80, (301, "http://b.com/new?y=1")),
            ("prefix", r#"{"prefixRewrite": "/np/", "redirectCode": 302}"#, prefix, "http://a.com/pfx/x?y=1", 80, (302, "http://a.com/np/x?y=1")),
            ("port", r#"{"port": 8443, "scheme": "https"}"#, any, "http://a.com/port", 80, (301, "https://a.com:8443/port")),
            ("a port of its own takes the request's away", r#"{"port": 8443}"#, any, "http://a.com:81/", 80, (301, "http://a.com:8443/")),
            (
                "port of the request",
                r#"{"derivePort": "FROM_REQUEST_PORT", "authority": "b.com"}"#,
                any,
                "http://a.com:8081/derive",
                8081,
                (301, "http://b.com:8081/derive"),
            ),
            ("port of the request, default", r#"{"derivePort": "FROM_REQUEST_PORT"}"#, any, "http://a.com/", 80, (301, "http://a.com/")),
            ("the scheme stays, and its port", r#"{"uri": "/n"}"#, any, "http://a.com:80/x", 80, (301, "http://a.com:80/n")),
            ("to http", r#"{"scheme": "http"}"#, any, "https://a.com:443/x", 443, (301, "http://a.com/x")),
            ("IPv6", r#"{"scheme": "https"}"#, any, "http://[::1]:80/x", 80, (301, "https://[::1]/x")),
            ("IPv6 without port", r#"{"port": 81}"#, any, "http://[::1]/x", 80, (301, "http://[::1]:81/x")),
            ("a query of its own", r#"{"uri": "/n?a=b"}"#, any, "http://a.com/x?y", 80, (301, "http://a.com/n?a=b")),
            ("a port in the authority", r#"{"authority": "b.com:99"}"#, any, "http://a.com:1/x", 80, (301, "http://b.com:99/x")),
        ] {
            assert_eq!(check(spec, matched, url, listener), (want.0, want.1.to_owned()), "{about}: {spec} {url}");
        }
    }

    #[test]
    fn only_five_codes_take_effect_1_4() {
        for code in [300, 304, 305, 399] {
            let spec = HttpRedirect { redirect_code: code, ..HttpRedirect::default() };
            assert_eq!(Redirect::new(&spec).map_err(|e| e.field), Err("redirectCode".to_owned()), "{code}");
        }
    }

    #[test]
    fn a_whole_host_is_sent_to_https_g40() {
        let headers = HeaderMap::new();
        let head = Head { method: "GET", scheme: "http", authority: "a.com:80", path: "/x", query: Some("y"), headers: &headers };
        assert_eq!(Redirect::https_location(&head), "https://a.com:80/x?y");
    }
}
