//! Formats of the access log: Envoy's command operators, read once into pieces, written per line without lookups by name.
//!
//! Istio's own text and JSON forms (contract 10.3) are formats like any other, so a custom `accessLogFormat` takes the same
//! way. An operator that is not known is a problem where the format is read, and writes `-`.

mod write;

use http::HeaderName;
use isthmus_config::problem::{Problem, Severity};

use super::record::Record;
pub(crate) use write::utc;
use write::{json_value, quoted, text};

/// Istio's text format.
pub(crate) const ISTIO_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% \
%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Istio's JSON format: key and operator, by key.
pub(crate) const ISTIO_JSON: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// How a line is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Pieces one after the other.
    Text(Vec<Piece>),
    /// An object; each value is text of pieces, or one operator with its own type.
    Json(Vec<(String, Vec<Piece>)>),
}

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it stands.
    Literal(String),
    /// A value.
    Value(Operator, Option<usize>),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// The first of two sources that has a value.
    Request(Source, Option<Source>),
    /// A header of the answer.
    Response(HeaderName),
    /// A fact of the exchange.
    Fact(Fact),
    /// Not known to us: always absent.
    Unknown,
}

/// A header or pseudo header of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:authority`.
    Authority,
    /// `x-envoy-original-path`, which we know without the header.
    OriginalPath,
    /// Any other.
    Header(HeaderName),
}

macro_rules! facts {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// A fact of the exchange, by Envoy's name of its operator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fact { $($name),* }
        const FACTS: &[(&str, Fact)] = &[$(($text, Fact::$name)),*];
    };
}

facts! {
    StartTime = "START_TIME",
    Protocol = "PROTOCOL",
    ResponseCode = "RESPONSE_CODE",
    ResponseFlags = "RESPONSE_FLAGS",
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    TerminationDetails = "CONNECTION_TERMINATION_DETAILS",
    TransportFailure = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    BytesReceived = "BYTES_RECEIVED",
    BytesSent = "BYTES_SENT",
    Duration = "DURATION",
    UpstreamHost = "UPSTREAM_HOST",
    UpstreamCluster = "UPSTREAM_CLUSTER",
    UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW",
    UpstreamLocal = "UPSTREAM_LOCAL_ADDRESS",
    DownstreamLocal = "DOWNSTREAM_LOCAL_ADDRESS",
    DownstreamRemote = "DOWNSTREAM_REMOTE_ADDRESS",
    DownstreamRemoteBare = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    DownstreamDirect = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    ServerName = "REQUESTED_SERVER_NAME",
    RouteName = "ROUTE_NAME",
    GrpcStatus = "GRPC_STATUS_NUMBER",
}

impl Format {
    /// Istio's text form.
    pub(crate) fn istio_text() -> Self {
        Self::text(ISTIO_TEXT, &mut Vec::new())
    }
    /// Istio's JSON form.
    pub(crate) fn istio_json() -> Self {
        Self::json(ISTIO_JSON.iter().map(|(key, value)| ((*key).to_owned(), *value)), &mut Vec::new())
    }
    /// Reads a text format; a line end is added where it has none.
    pub(crate) fn text(text: &str, problems: &mut Vec<Problem>) -> Self {
        let mut pieces = pieces(text, problems);
        if !text.ends_with('\n') {
            pieces.push(Piece::Literal("\n".to_owned()));
        }
        Self::Text(pieces)
    }
    /// Reads a JSON format: keys with text formats.
    pub(crate) fn json<'a>(fields: impl Iterator<Item = (String, &'a str)>, problems: &mut Vec<Problem>) -> Self {
        Self::Json(fields.map(|(key, value)| (key, pieces(value, problems))).collect())
    }
    /// Writes one line.
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        match self {
            Self::Text(pieces) => text(out, pieces, record),
            Self::Json(fields) => {
                for (i, (key, pieces)) in fields.iter().enumerate() {
                    out.push(if i == 0 { b'{' } else { b',' });
                    quoted(out, key.as_bytes());
                    out.push(b':');
                    json_value(out, pieces, record);
                }
                out.extend_from_slice(if fields.is_empty() { b"{}\n" } else { b"}\n" });
            }
        }
    }
}

fn pieces(format: &str, problems: &mut Vec<Problem>) -> Vec<Piece> {
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), format);
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(end) = rest.find('%') else {
            literal.push('%');
            break;
        };
        let operator = &rest[..end];
        rest = &rest[end + 1..];
        if operator.is_empty() {
            literal.push('%');
            continue;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        let (name, limit) = match operator.rsplit_once(':') {
            Some((name, digits)) if name.ends_with(')') && digits.parse::<usize>().is_ok() => (name, digits.parse().ok()),
            _ => (operator, None),
        };
        let operator = read(name).unwrap_or_else(|| {
            let problem = Problem::new(Severity::Warning, "ISM0501", format!("access log operator %{name}% is not known and is written as absent"));
            problems.push(problem.at("mesh.accessLogFormat"));
            Operator::Unknown
        });
        pieces.push(Piece::Value(operator, limit));
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

fn read(name: &str) -> Option<Operator> {
    let source = |text: &str| match text.to_ascii_lowercase().as_str() {
        ":method" => Some(Source::Method),
        ":path" => Some(Source::Path),
        ":authority" => Some(Source::Authority),
        "x-envoy-original-path" => Some(Source::OriginalPath),
        other => HeaderName::from_bytes(other.as_bytes()).ok().map(Source::Header),
    };
    if let Some(inner) = name.strip_prefix("REQ(").and_then(|n| n.strip_suffix(')')) {
        return match inner.split_once('?') {
            Some((first, second)) => Some(Operator::Request(source(first)?, Some(source(second)?))),
            None => Some(Operator::Request(source(inner)?, None)),
        };
    }
    if let Some(inner) = name.strip_prefix("RESP(").and_then(|n| n.strip_suffix(')')) {
        return HeaderName::from_bytes(inner.to_ascii_lowercase().as_bytes()).ok().map(Operator::Response);
    }
    FACTS.iter().find(|(text, _)| *text == name).map(|(_, fact)| Operator::Fact(*fact))
}
