//! A line of the access log: each operator's value, written as text or as JSON, without anything made on the way.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName};
use isthmus_core::model::Address;
use isthmus_core::text::{ip, number, socket};

use super::{Fact, Operator, Piece, Source};
use crate::observe::record::Record;

/// A value on its way into a line.
enum Value<'a> {
    Absent,
    Bytes(&'a [u8]),
    Number(u64),
    Address(IpAddr),
    Socket(SocketAddr),
    Shown(&'a dyn std::fmt::Display),
    Time(SystemTime),
}

fn bytes(text: &str) -> Value<'_> {
    if text.is_empty() { Value::Absent } else { Value::Bytes(text.as_bytes()) }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Value<'a> {
    headers.get(name).map_or(Value::Absent, |value| Value::Bytes(value.as_bytes()))
}

fn requested<'a>(source: &Source, record: &Record<'a>) -> Value<'a> {
    let Some(request) = record.request else { return Value::Absent };
    match source {
        Source::Method => bytes(request.method),
        Source::Path => bytes(request.path),
        Source::Authority => bytes(request.authority),
        Source::OriginalPath => bytes(request.original_path),
        Source::Header(name) => header(request.headers, name),
    }
}

fn with_value<R>(operator: &Operator, record: &Record<'_>, then: impl FnOnce(Value<'_>) -> R) -> R {
    let fact = match operator {
        Operator::Request(first, second) => {
            let value = requested(first, record);
            return match (value, second) {
                (Value::Absent, Some(second)) => then(requested(second, record)),
                (value, _) => then(value),
            };
        }
        Operator::Response(name) => return then(record.response.map_or(Value::Absent, |headers| header(headers, name))),
        Operator::Unknown => return then(Value::Absent),
        Operator::Fact(fact) => fact,
    };
    match fact {
        Fact::StartTime => then(Value::Time(record.start)),
        Fact::Protocol => then(record.request.map_or(Value::Absent, |request| bytes(request.protocol))),
        Fact::ResponseCode => then(Value::Number(u64::from(record.code))),
        Fact::ResponseFlags if record.flags.is_empty() => then(Value::Bytes(b"-")),
        Fact::ResponseFlags => then(Value::Shown(&record.flags)),
        Fact::ResponseCodeDetails => match (record.details.strip_suffix('}'), record.transport_failure) {
            (None, _) | (_, "") => then(bytes(record.details)),
            // As Envoy: the transport's reason joins the reset's.
            (Some(reset), reason) => then(Value::Shown(&format_args!("{reset}|{reason}}}"))),
        },
        // Set by Envoy's RBAC and listener filters only, none of which a gateway of ours has.
        Fact::TerminationDetails => then(Value::Absent),
        Fact::TransportFailure => then(bytes(record.transport_failure)),
        Fact::BytesReceived => then(Value::Number(record.received)),
        Fact::BytesSent => then(Value::Number(record.sent)),
        Fact::Duration => then(Value::Number(u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX))),
        Fact::UpstreamHost => then(match record.member.map(|member| member.address()) {
            None => Value::Absent,
            Some(Address::Socket(address)) => Value::Socket(*address),
            Some(address) => Value::Shown(address),
        }),
        Fact::UpstreamCluster | Fact::UpstreamClusterRaw => then(bytes(record.backend)),
        Fact::UpstreamLocal => then(record.upstream_local.map_or(Value::Absent, Value::Socket)),
        Fact::DownstreamLocal => then(Value::Socket(record.local)),
        Fact::DownstreamRemote | Fact::DownstreamDirect => then(Value::Socket(record.peer)),
        Fact::DownstreamRemoteBare => then(Value::Address(record.peer.ip())),
        Fact::ServerName => then(bytes(record.server_name)),
        Fact::RouteName => then(bytes(record.route)),
        Fact::GrpcStatus => then(record.grpc_status.map_or(Value::Absent, |status| Value::Number(u64::from(status)))),
    }
}

pub(super) fn text(out: &mut Vec<u8>, pieces: &[Piece], record: &Record<'_>) {
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
            Piece::Value(operator, limit) => with_value(operator, record, |value| {
                let before = out.len();
                plain(out, value);
                if let Some(limit) = limit {
                    out.truncate(before + limit);
                }
            }),
        }
    }
}

pub(super) fn json_value(out: &mut Vec<u8>, pieces: &[Piece], record: &Record<'_>) {
    let [Piece::Value(operator, None)] = pieces else {
        let mut line = Vec::new();
        text(&mut line, pieces, record);
        return quoted(out, &line);
    };
    with_value(operator, record, |value| match value {
        Value::Absent => out.extend_from_slice(b"null"),
        Value::Bytes(value) => quoted(out, value),
        Value::Number(_) => plain(out, value),
        // Addresses, flags and times hold nothing that JSON would escape.
        Value::Address(_) | Value::Socket(_) | Value::Shown(_) | Value::Time(_) => {
            out.push(b'"');
            plain(out, value);
            out.push(b'"');
        }
    });
}

/// A value as text.
fn plain(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Absent => out.push(b'-'),
        Value::Bytes(value) => out.extend_from_slice(value),
        Value::Number(value) => out.extend_from_slice(&number(value)),
        Value::Address(value) => out.extend_from_slice(&ip(value)),
        Value::Socket(value) => out.extend_from_slice(&socket(value)),
        Value::Shown(shown) => write!(out, "{shown}").expect("a Vec takes every write"),
        Value::Time(time) => timestamp(out, time),
    }
}

/// A JSON string; bytes that are not UTF-8 become U+FFFD.
pub(super) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 => write!(out, "\\u{byte:04x}").expect("a Vec takes every write"),
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

thread_local! {
    /// The second written last and its text, since most lines share it with the one before.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// `2026-11-21T10:00:00.123Z`, as the access log writes times.
pub(crate) fn utc(time: SystemTime) -> String {
    let mut text = Vec::with_capacity(24);
    timestamp(&mut text, time);
    String::from_utf8_lossy(&text).into_owned()
}

/// `2026-11-21T10:00:00.123Z`.
fn timestamp(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let stamp = i64::try_from(since.as_secs()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
            *text = stamp.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        out.extend_from_slice(text.as_bytes());
    });
    let millis = since.subsec_millis();
    out.extend_from_slice(match millis {
        0..10 => b".00",
        10..100 => b".0",
        _ => b".",
    });
    out.extend_from_slice(&number(millis));
    out.push(b'Z');
}
