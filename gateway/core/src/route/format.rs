//! Envoy's format strings in header values: `%REQ(x)%`, `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`, `%%`.
//!
//! Parsed once, when configuration is read; a command that is not known here is an error, never sent as it is written.
//! What a request does not have is the empty text, as in Envoy's header formatter.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName};

/// What of a request and its connection a format can name.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client: the peer, or whom trusted proxies name (port 0).
    pub client: SocketAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// The TLS server name asked for.
    pub server_name: Option<&'a str>,
    /// The route's name.
    pub route: &'a str,
    /// The method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority.
    pub authority: &'a str,
    /// Path and query.
    pub target: &'a str,
}

/// The header fields that a format can read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) request: &'a HeaderMap,
    /// Status and fields, on the way back.
    pub(super) response: Option<(u16, &'a HeaderMap)>,
}

/// A format string that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` that opens nothing; a plain one is written `%%`.
    #[error("expected %COMMAND% or %%, found a lone % in {0:?}")]
    Open(String),
    /// A command that we do not know.
    #[error("%{0}% is not in force yet in a header value")]
    Unknown(String),
}

/// A parsed format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Client(Part),
    Peer(Part),
    Local(Part),
    Protocol,
    ServerName,
    Route,
    Status,
    Request { name: Name, otherwise: Option<Name>, limit: Option<usize> },
    Response { name: Name, otherwise: Option<Name>, limit: Option<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Address,
    Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Header(HeaderName),
}

impl Format {
    /// Parses `text`; a text without `%` has one piece.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            // The closing sign; header names and arguments hold none.
            let (command, left) = after.split_once('%').ok_or_else(|| FormatError::Open(text.to_owned()))?;
            if command.is_empty() {
                plain.push('%');
            } else {
                if !command.starts_with(|c: char| c.is_ascii_uppercase()) {
                    return Err(FormatError::Open(text.to_owned()));
                }
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(piece(command).ok_or_else(|| FormatError::Unknown(command.to_owned()))?);
            }
            rest = left;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
    /// The text, where it is the same for every request.
    pub fn literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
    pub(super) fn render(&self, facts: &Facts<'_>, fields: &Fields<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Client(part) => out.extend_from_slice(address(facts.client, *part).as_bytes()),
                Piece::Peer(part) => out.extend_from_slice(address(facts.peer, *part).as_bytes()),
                Piece::Local(part) => out.extend_from_slice(address(facts.local, *part).as_bytes()),
                Piece::Protocol => out.extend_from_slice(facts.protocol.as_bytes()),
                Piece::ServerName => out.extend_from_slice(facts.server_name.unwrap_or_default().as_bytes()),
                Piece::Route => out.extend_from_slice(facts.route.as_bytes()),
                Piece::Status => out.extend_from_slice(fields.response.map_or_else(String::new, |(status, _)| status.to_string()).as_bytes()),
                Piece::Request { name, otherwise, limit } => {
                    let found = lookup(name, Some(fields.request), facts).or_else(|| lookup(otherwise.as_ref()?, Some(fields.request), facts));
                    out.extend_from_slice(cut(found, *limit));
                }
                Piece::Response { name, otherwise, limit } => {
                    let headers = fields.response.map(|(_, headers)| headers);
                    let found = lookup(name, headers, facts).or_else(|| lookup(otherwise.as_ref()?, headers, facts));
                    out.extend_from_slice(cut(found, *limit));
                }
            }
        }
        out
    }
}

fn piece(command: &str) -> Option<Piece> {
    let (word, rest) = command.split_at(command.find(['(', ':']).unwrap_or(command.len()));
    if word == "REQ" || word == "RESP" {
        let (argument, limit) = rest.strip_prefix('(')?.split_once(')')?;
        let limit = match limit.strip_prefix(':') {
            Some(digits) => Some(digits.parse().ok()?),
            None if limit.is_empty() => None,
            None => return None,
        };
        let (name, otherwise) = argument.split_once('?').map_or((argument, None), |(name, otherwise)| (name, Some(otherwise)));
        let pseudo = word == "REQ";
        let name = header(name, pseudo)?;
        let otherwise = match otherwise {
            Some(other) => Some(header(other, pseudo)?),
            None => None,
        };
        return Some(if pseudo { Piece::Request { name, otherwise, limit } } else { Piece::Response { name, otherwise, limit } });
    }
    if !rest.is_empty() {
        return None;
    }
    Some(match word {
        "DOWNSTREAM_REMOTE_ADDRESS" => Piece::Client(Part::Whole),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Piece::Client(Part::Address),
        "DOWNSTREAM_REMOTE_PORT" => Piece::Client(Part::Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Piece::Peer(Part::Whole),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Piece::Peer(Part::Address),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Piece::Peer(Part::Port),
        "DOWNSTREAM_LOCAL_ADDRESS" => Piece::Local(Part::Whole),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Piece::Local(Part::Address),
        "DOWNSTREAM_LOCAL_PORT" => Piece::Local(Part::Port),
        "PROTOCOL" => Piece::Protocol,
        "REQUESTED_SERVER_NAME" => Piece::ServerName,
        "ROUTE_NAME" => Piece::Route,
        "RESPONSE_CODE" => Piece::Status,
        _ => return None,
    })
}

fn header(name: &str, pseudo: bool) -> Option<Name> {
    Some(match name.to_ascii_lowercase().as_str() {
        ":method" if pseudo => Name::Method,
        ":scheme" if pseudo => Name::Scheme,
        ":authority" | "host" if pseudo => Name::Authority,
        ":path" if pseudo => Name::Path,
        name => Name::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
    })
}

fn lookup<'a>(name: &Name, headers: Option<&'a HeaderMap>, facts: &Facts<'a>) -> Option<&'a [u8]> {
    match name {
        Name::Method => Some(facts.method.as_bytes()),
        Name::Scheme => Some(facts.scheme.as_bytes()),
        Name::Authority => Some(facts.authority.as_bytes()),
        Name::Path => Some(facts.target.as_bytes()),
        Name::Header(name) => headers?.get(name).map(|value| value.as_bytes()),
    }
}

fn cut(found: Option<&[u8]>, limit: Option<usize>) -> &[u8] {
    let found = found.unwrap_or_default();
    &found[..limit.map_or(found.len(), |limit| limit.min(found.len()))]
}

fn address(address: SocketAddr, part: Part) -> String {
    match part {
        Part::Whole => address.to_string(),
        Part::Address => address.ip().to_string(),
        Part::Port => address.port().to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::route) const FACTS: Facts<'static> = Facts {
        client: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4)), 0),
        peer: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 4711),
        local: SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 8080),
        protocol: "HTTP/1.1",
        server_name: None,
        route: "r",
        method: "GET",
        scheme: "http",
        authority: "a.com",
        target: "/x?y",
    };

    #[test]
    fn formats_read_as_envoy_reads_them() {
        let mut request = HeaderMap::new();
        request.insert("x-user", "jason".parse().unwrap());
        for (text, want) in [
            ("plain", Some("plain")),
            ("100%%", Some("100%")),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", Some("1.2.3.4")),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", Some("10.0.0.1:4711")),
            ("%DOWNSTREAM_LOCAL_ADDRESS%", Some("[::1]:8080")),
            ("%DOWNSTREAM_LOCAL_PORT%", Some("8080")),
            ("%PROTOCOL% %REQ(:METHOD)% %REQ(Host)%%REQ(:path)%", Some("HTTP/1.1 GET a.com/x?y")),
            ("u=%REQ(X-User)%;", Some("u=jason;")),
            ("%REQ(X-None?X-User):3%", Some("jas")),
            ("%REQ(X-None)%", Some("")),
            ("%RESP(X-User)%%RESPONSE_CODE%", Some("")),
            ("%ROUTE_NAME%", Some("r")),
            ("50%", None),
            ("50% of", None),
            ("% %", None),
            ("%REQ%", None),
            ("%REQ(a b)%", None),
            ("%RESP(:path)%", None),
            ("%START_TIME%", None),
            ("%PROTOCOL(a)%", None),
        ] {
            let rendered = Format::parse(text).map(|f| f.render(&FACTS, &Fields { request: &request, response: None }));
            assert_eq!(rendered.ok().map(|v| String::from_utf8(v).unwrap()).as_deref(), want, "{text}");
        }
    }
}
