//! Every way in which a request can fail, as one table: status, body, response flag, details, whose fault.
//!
//! The rows are what Envoy sends (contract/envoy.md 6.6, contract/istio.md 3.7). No status, body or flag of a failure is
//! written anywhere else. A gRPC client gets the same failure as a trailers-only answer (8.5).

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};

/// The outcome of a gRPC call, in the head or the trailers of its answer.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No virtual host for the host, or no route in it.
    NoRoute,
    /// The route's backend does not exist (V-21, V-25).
    NoCluster,
    /// The backend has no endpoint that may get traffic.
    NoHealthyUpstream,
    /// A limit of the backend is reached.
    Overflow,
    /// The endpoint refused, or could not be reached.
    ConnectFailed,
    /// The endpoint did not take the connection in time.
    ConnectTimeout,
    /// The endpoint closed before it answered.
    Terminated,
    /// The endpoint reset the stream before it answered.
    RemoteReset,
    /// The endpoint answered with something that is not HTTP.
    UpstreamProtocol,
    /// The route's timeout passed.
    RouteTimeout,
    /// The last attempt's own timeout passed.
    PerTryTimeout,
    /// The request's framing or syntax is wrong.
    BadRequest,
    /// HTTP/1.1 without Host.
    MissingHost,
    /// The path cannot be normalised.
    BadPath,
    /// Too many or too large headers.
    HeadersTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// An upgrade that is not allowed here.
    UpgradeRefused,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: u16,
    /// The text body; "" for none.
    pub body: &'static str,
    /// The response flag, "" where there is none.
    pub flag: Flag,
    /// `response_code_details` in the access log.
    pub details: &'static str,
    /// The client's connection is closed after the answer.
    pub close: bool,
    /// The reason inside a reset's body, which changes once retries are used up.
    pub reset: Option<&'static str>,
}

const RESET: &str = "upstream connect error or disconnect/reset before headers. ";

impl Failure {
    /// The row of the table.
    pub const fn row(self) -> Row {
        const fn row(status: u16, body: &'static str, flag: Flag, details: &'static str) -> Row {
            Row { status, body, flag, details, close: false, reset: None }
        }
        const fn reset(status: u16, flag: Flag, reason: &'static str, details: &'static str) -> Row {
            Row { status, body: "", flag, details, close: false, reset: Some(reason) }
        }
        const fn closing(mut row: Row) -> Row {
            row.close = true;
            row
        }
        match self {
            Self::NoRoute => row(404, "", Flag::NoRoute, "route_not_found"),
            Self::NoCluster => row(503, "", Flag::NoCluster, "cluster_not_found"),
            Self::NoHealthyUpstream => row(503, "no healthy upstream", Flag::NoHealthyUpstream, "no_healthy_upstream"),
            Self::Overflow => reset(503, Flag::Overflow, "overflow", "upstream_reset_before_response_started{overflow}"),
            Self::ConnectFailed => {
                reset(503, Flag::ConnectFailure, "remote connection failure", "upstream_reset_before_response_started{remote_connection_failure}")
            }
            Self::ConnectTimeout => {
                reset(503, Flag::ConnectFailure, "connection timeout", "upstream_reset_before_response_started{connection_timeout}")
            }
            Self::Terminated => {
                reset(503, Flag::ConnectionTermination, "connection termination", "upstream_reset_before_response_started{connection_termination}")
            }
            Self::RemoteReset => reset(503, Flag::RemoteReset, "remote reset", "upstream_reset_before_response_started{remote_reset}"),
            Self::UpstreamProtocol => reset(502, Flag::UpstreamProtocol, "protocol error", "upstream_reset_before_response_started{protocol_error}"),
            Self::RouteTimeout => row(504, "upstream request timeout", Flag::Timeout, "response_timeout"),
            Self::PerTryTimeout => row(504, "upstream request timeout", Flag::Timeout, "upstream_per_try_timeout"),
            Self::BadRequest => closing(row(400, "Bad Request", Flag::DownstreamProtocol, "http1.codec_error")),
            Self::MissingHost => closing(row(400, "", Flag::None, "missing_host_header")),
            Self::BadPath => closing(row(400, "", Flag::None, "path_normalization_failed")),
            Self::HeadersTooLarge => closing(row(431, "Request Header Fields Too Large", Flag::DownstreamProtocol, "http1.headers_too_large")),
            Self::HeadTimeout => closing(row(408, "request header timeout", Flag::None, "request_header_timeout")),
            Self::UpgradeRefused => closing(row(403, "", Flag::None, "upgrade_failed")),
        }
    }

    /// `response_code_details` where the stream broke after the response had begun.
    pub fn after_response(self) -> &'static str {
        if self == Self::UpstreamProtocol {
            "upstream_reset_after_response_started{protocol_error}"
        } else if self == Self::RemoteReset {
            "upstream_reset_after_response_started{remote_reset}"
        } else {
            "upstream_reset_after_response_started{connection_termination}"
        }
    }

    /// The body; `retried` says that retries were made, which a reset's body tells (6.2).
    pub fn body(self, retried: bool) -> String {
        let row = self.row();
        match row.reset {
            Some(reason) if retried => format!("{RESET}retried and the latest reset reason: {reason}"),
            Some(reason) => format!("{RESET}reset reason: {reason}"),
            None => row.body.to_owned(),
        }
    }

    /// The answer; a gRPC request gets it as status and message of a trailers-only response.
    pub fn reply(self, retried: bool, grpc: bool) -> Reply {
        let row = self.row();
        let mut reply = Reply::text(row.status, self.body(retried), grpc);
        reply.close = row.close;
        if self == Self::Overflow {
            reply.headers.insert(HeaderName::from_static("x-envoy-overloaded"), HeaderValue::from_static("true"));
        }
        reply
    }
}

/// An answer that the gateway makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its headers, without `server` and `date`.
    pub headers: HeaderMap,
    /// Its body.
    pub body: bytes::Bytes,
    /// The client's connection is closed afterwards.
    pub close: bool,
}

impl Reply {
    /// Status and headers alone.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: bytes::Bytes::new(), close: false }
    }

    /// A plain text answer, or for gRPC its trailers-only form (8.5). An empty text has no content type.
    pub fn text(status: u16, text: impl Into<String>, grpc: bool) -> Self {
        let text = text.into();
        if grpc {
            return Self::grpc(grpc_status(status), &text);
        }
        let mut reply = Self::empty(status);
        if !text.is_empty() {
            reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            reply.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
            reply.body = text.into();
        }
        reply
    }

    /// A trailers-only gRPC answer.
    pub fn grpc(status: u32, message: &str) -> Self {
        let mut reply = Self::empty(200);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        reply.headers.insert(GRPC_STATUS, HeaderValue::from(status));
        if !message.is_empty() {
            let encoded: String = message
                .bytes()
                .map(|b| if (0x20..0x7f).contains(&b) && b != b'%' { char::from(b).to_string() } else { format!("%{b:02X}") })
                .collect();
            if let Ok(value) = HeaderValue::from_str(&encoded) {
                reply.headers.insert(HeaderName::from_static("grpc-message"), value);
            }
        }
        reply
    }
}

/// The gRPC status of a local HTTP answer (8.5).
pub const fn grpc_status(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// A response flag of the access log (contract/envoy.md 11.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "the text of each flag says what it means")]
pub enum Flag {
    None,
    NoHealthyUpstream,
    Timeout,
    RemoteReset,
    ConnectFailure,
    ConnectionTermination,
    Overflow,
    NoRoute,
    DelayInjected,
    FaultInjected,
    ClientGone,
    RetriesExhausted,
    DownstreamProtocol,
    UpstreamProtocol,
    NoCluster,
}

impl Flag {
    /// The letters of the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::NoHealthyUpstream => "UH",
            Self::Timeout => "UT",
            Self::RemoteReset => "UR",
            Self::ConnectFailure => "UF",
            Self::ConnectionTermination => "UC",
            Self::Overflow => "UO",
            Self::NoRoute => "NR",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::ClientGone => "DC",
            Self::RetriesExhausted => "URX",
            Self::DownstreamProtocol => "DPE",
            Self::UpstreamProtocol => "UPE",
            Self::NoCluster => "NC",
        }
    }
}

/// The flags of one request, in the order in which they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags([Flag; Self::MOST]);

impl Default for Flags {
    fn default() -> Self {
        Self([Flag::None; Self::MOST])
    }
}

impl Flags {
    /// More than one request can gather: a delay, used up retries, a failure, a client that left.
    const MOST: usize = 6;

    /// Adds a flag, once.
    pub fn set(&mut self, flag: Flag) {
        if !self.has(flag)
            && let Some(free) = self.0.iter_mut().find(|f| **f == Flag::None)
        {
            *free = flag;
        }
    }
    /// True where the flag is set; `None` always is.
    pub fn has(self, flag: Flag) -> bool {
        flag == Flag::None || self.0.contains(&flag)
    }
    /// True where none is set.
    pub fn is_empty(self) -> bool {
        self.0[0] == Flag::None
    }
}

/// The `grpc-status` of an answer's head or trailers, where there is one.
pub fn told_grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

impl std::fmt::Display for Flags {
    /// As the access log writes them: joined by commas, `-` for none.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (i, flag) in self.0.iter().filter(|flag| **flag != Flag::None).enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_long_as_envoys() {
        for (failure, retried, bytes) in [
            (Failure::Overflow, false, 81),
            (Failure::NoHealthyUpstream, false, 19),
            (Failure::Terminated, false, 95),
            (Failure::UpstreamProtocol, false, 87),
            (Failure::RouteTimeout, false, 24),
            (Failure::NoRoute, false, 0),
        ] {
            assert_eq!(failure.body(retried).len(), bytes, "{failure:?}");
        }
        assert!(Failure::Terminated.body(true).ends_with("retried and the latest reset reason: connection termination"));
    }

    #[test]
    fn flags_join_in_the_order_of_their_setting() {
        let joined = |flags: &[Flag]| {
            let mut all = Flags::default();
            flags.iter().for_each(|f| all.set(*f));
            all.to_string()
        };
        assert_eq!(joined(&[]), "-");
        assert_eq!(joined(&[Flag::DelayInjected, Flag::FaultInjected]), "DI,FI");
        assert_eq!(joined(&[Flag::RetriesExhausted, Flag::Timeout, Flag::Timeout]), "URX,UT");
    }

    #[test]
    fn grpc_clients_get_trailers_only() {
        let reply = Failure::NoHealthyUpstream.reply(false, true);
        assert_eq!((reply.status, reply.headers["grpc-status"].as_bytes(), reply.body.len()), (200, &b"14"[..], 0));
        assert_eq!(reply.headers["grpc-message"], "no healthy upstream");
    }
}
