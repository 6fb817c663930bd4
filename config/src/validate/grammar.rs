//! Names, addresses and other small grammars that the rules share (contract 1.2).

use std::net::{IpAddr, Ipv6Addr};

use super::Verdict;
use crate::value::{Duration, StringMatch};

/// What a port's protocol means for the rules; names are read without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Http2,
    HttpProxy,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Udp,
    Mongo,
    Redis,
    Mysql,
}

impl Protocol {
    pub(super) fn read(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "http_proxy" => Self::HttpProxy,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            _ => return None,
        })
    }
    pub(super) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::HttpProxy | Self::Grpc | Self::GrpcWeb)
    }
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

fn is_label(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    !text.is_empty() && text.len() <= 63 && inner && !text.starts_with('-') && !text.ends_with('-')
}

/// A DNS label; upper case is tolerated.
pub(super) fn dns_label(text: &str) -> Verdict {
    if is_label(text) { Ok(()) } else { Err(format!("expected letters, digits and inner `-`, at most 63, found {text:?}")) }
}

/// Dot-separated labels, as Kubernetes names its objects.
pub(super) fn subdomain(text: &str) -> Verdict {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(())
    } else {
        Err(format!("expected labels of letters, digits and inner `-` between dots, found {text:?}"))
    }
}

fn labels_of(domain: &str, text: &str) -> Verdict {
    let labels: Vec<&str> = domain.split('.').collect();
    let (last, inner) = labels.split_last().unwrap_or((&"", &[]));
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text:?} is no host name: its last label is a number"));
    }
    let wrong = inner.iter().chain((!last.is_empty()).then_some(last)).find(|label| !is_label(label));
    wrong.map_or(Ok(()), |label| Err(format!("{text:?} is no host name: {label:?} is no label")))
}

fn host_length(text: &str) -> Verdict {
    match text.len() {
        0 => Err("expected a host name, found none".to_owned()),
        1..=255 => Ok(()),
        long => Err(format!("a host name has at most 255 characters, this one {long}")),
    }
}

/// A fully qualified name, or a short one; one trailing dot is tolerated.
pub(super) fn fqdn(text: &str) -> Verdict {
    host_length(text)?;
    labels_of(text, text)
}

/// A host name whose first label may be `*` or begin with one.
pub(super) fn wildcard_domain(text: &str) -> Verdict {
    host_length(text)?;
    let (first, rest) = text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let stem = first.strip_prefix("*-").or_else(|| first.strip_prefix('*'));
    let fits = first.len() <= 63 && stem.map_or_else(|| is_label(first), |stem| stem.is_empty() && first == "*" || is_label(stem));
    if !fits {
        return Err(format!("{text:?} is no host name: {first:?} is no label"));
    }
    rest.map_or(Ok(()), |rest| labels_of(rest, text))
}

/// A wildcard other than `*` and `*.suffix`.
pub(super) fn is_partial_wildcard(host: &str) -> bool {
    host.contains('*') && host != "*" && !host.starts_with("*.")
}

/// A host of a VirtualService at a gateway; SNI names made for AUTO_PASSTHROUGH are hosts too (M-41).
pub(super) fn gateway_bound_host(text: &str, sni: bool) -> Verdict {
    host_length(text)?;
    if sni && text.starts_with("outbound_") {
        let parts: Vec<&str> = text.splitn(4, '_').collect();
        let [_, port, _, host] = parts.as_slice() else { return Err(format!("expected outbound_.PORT_.SUBSET_.HOST, found {text:?}")) };
        let port = port.trim_matches('.').bytes().any(|b| b.is_ascii_digit());
        return if port && host.bytes().any(|b| b.is_ascii_alphabetic()) {
            Ok(())
        } else {
            Err(format!("expected outbound_.PORT_.SUBSET_.HOST, found {text:?}"))
        };
    }
    wildcard_domain(text)
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.split_once('%').is_some_and(|(ip, zone)| !zone.is_empty() && ip.parse::<Ipv6Addr>().is_ok())
}

/// An IP address.
pub(super) fn ip(text: &str) -> Verdict {
    if is_ip(text) { Ok(()) } else { Err(format!("expected an IP address, found {text:?}")) }
}

/// An IP address, or one with a prefix length.
pub(super) fn subnet(text: &str) -> Verdict {
    let Some((address, bits)) = text.split_once('/') else { return ip(text) };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err(format!("expected an IP address or a range such as 10.0.0.0/8, found {text:?}")),
    };
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    if plain && bits.parse::<u8>().is_ok_and(|bits| bits <= most) {
        Ok(())
    } else {
        Err(format!("expected a prefix length from 0 to {most}, found {text:?}"))
    }
}

/// 1 to 65535.
pub(super) fn port(number: u32) -> Verdict {
    if (1..=65535).contains(&number) { Ok(()) } else { Err(format!("expected a port from 1 to 65535, found {number}")) }
}

/// The part of `unix://…` behind the scheme.
pub(super) fn unix_path(path: &str) -> Verdict {
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        Ok(())
    } else {
        Err(format!("expected an absolute path of a socket or @name, found {path:?}"))
    }
}

/// At least one millisecond, and whole ones.
pub(super) fn duration(value: Duration) -> Verdict {
    let nanos = value.0.as_nanos();
    if nanos < 1_000_000 {
        Err(format!("expected at least 1ms, found {value}"))
    } else if !nanos.is_multiple_of(1_000_000) {
        Err(format!("expected whole milliseconds, found {value}"))
    } else {
        Ok(())
    }
}

/// 0, or 0.0001 to 100.
pub(super) fn percent(value: f64) -> Verdict {
    if value == 0.0 || (0.0001..=100.0).contains(&value) { Ok(()) } else { Err(format!("expected 0, or 0.0001 to 100 percent, found {value}")) }
}

/// 0 to 100.
pub(super) fn whole_percent(value: i32) -> Verdict {
    if (0..=100).contains(&value) { Ok(()) } else { Err(format!("expected 0 to 100 percent, found {value}")) }
}

/// 0 or more.
pub(super) fn not_negative(value: i32) -> Verdict {
    if value < 0 { Err(format!("expected 0 or more, found {value}")) } else { Ok(()) }
}

/// 200 to 600.
pub(super) fn http_status(status: i64) -> Verdict {
    if (200..=600).contains(&status) { Ok(()) } else { Err(format!("expected an HTTP status from 200 to 599, found {status}")) }
}

/// RE2, at most 1024 characters.
pub(super) fn regex(pattern: &str) -> Verdict {
    if pattern.is_empty() {
        return Err("expected a regular expression, found none".to_owned());
    }
    if pattern.len() > 1024 {
        return Err(format!("a regular expression has at most 1024 characters, this one {}", pattern.len()));
    }
    regex_automata::util::syntax::parse(pattern).map(drop).map_err(|error| {
        let last = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("{pattern:?} is no RE2 expression: {last}")
    })
}

/// The pattern of a StringMatch, an empty prefix allowed (`uri`).
pub(super) fn pattern(matched: &StringMatch) -> Verdict {
    match matched {
        StringMatch::Regex(pattern) => regex(pattern),
        StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Present => Ok(()),
    }
}

/// The pattern of a StringMatch whose prefix must not be empty.
pub(super) fn strict_pattern(matched: &StringMatch) -> Verdict {
    match matched {
        StringMatch::Prefix(prefix) if prefix.is_empty() => Err("expected a prefix, found an empty one".to_owned()),
        StringMatch::Prefix(_) | StringMatch::Exact(_) | StringMatch::Regex(_) | StringMatch::Present => pattern(matched),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A header name.
pub(super) fn header_name(name: &str) -> Verdict {
    if is_token(name) { Ok(()) } else { Err(format!("{name:?} is no header name")) }
}

/// True for `@request.auth.claims.x` and `@request.auth.claims[x]`.
pub(super) fn is_claim(name: &str) -> bool {
    let rest = name.get(..20).filter(|p| p.eq_ignore_ascii_case("@request.auth.claims")).map(|_| &name[20..]);
    rest.is_some_and(|rest| rest.starts_with('.') || (rest.starts_with('[') && rest.ends_with(']')))
}

/// A key of `headers` or `withoutHeaders`: a header, a pseudo header or a claim.
pub(super) fn matched_header(name: &str) -> Verdict {
    if is_claim(name) || matches!(name, ":method" | ":scheme" | ":authority" | ":path" | ":status") { Ok(()) } else { header_name(name) }
}

/// True for the names of the authority.
pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// A name that `set` or `add` of a request may carry.
pub(super) fn edited_header(name: &str) -> Verdict {
    if is_authority(name) { Ok(()) } else { plain_edited_header(name) }
}

/// A name that `remove`, or any edit of a response, may carry.
pub(super) fn plain_edited_header(name: &str) -> Verdict {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") { Err(format!("{name:?} cannot be edited here")) } else { header_name(name) }
}

/// A header value in Envoy's format: `%%` is a percent sign, `%NAME%` and `%NAME(…)%` are variables.
pub(super) fn header_value(value: &str) -> Verdict {
    if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(format!("{value:?} holds control characters"));
    }
    let mut rest = value;
    while let Some((_, variable)) = rest.split_once('%') {
        if let Some(after) = variable.strip_prefix('%') {
            rest = after;
            continue;
        }
        let name = variable.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let after = &variable[name..];
        let after = match after.strip_prefix('(') {
            Some(arguments) => arguments.split_once(')').map_or("", |(_, after)| after),
            None => after,
        };
        let after = after.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
        match after.strip_prefix('%') {
            Some(after) if name > 0 => rest = after,
            _ => return Err(format!("{value:?}: a percent sign begins a variable such as %HOSTNAME%; write %% for the sign itself")),
        }
    }
    Ok(())
}

/// A label as Kubernetes writes them.
pub(super) fn label(key: &str, value: &str) -> Verdict {
    let part = |text: &str| {
        let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        text.len() <= 63 && inner && !text.starts_with(['-', '_', '.']) && !text.ends_with(['-', '_', '.'])
    };
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.is_empty() || !part(name) || prefix.is_some_and(|prefix| subdomain(prefix).is_err()) {
        Err(format!("{key:?} is no label name"))
    } else if part(value) {
        Ok(())
    } else {
        Err(format!("{value:?} is no label value"))
    }
}
