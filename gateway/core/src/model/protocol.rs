//! How a port is spoken to, told by appProtocol, port name or number (P-1..P-4).

use serde::Serialize;

/// A port's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[expect(missing_docs, reason = "each variant is the protocol of that name in Istio's list (P-2)")]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    HttpProxy,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    Mysql,
    Udp,
    /// Not said: detected, which towards an endpoint of a gateway means HTTP/1.1 (P-3).
    Auto,
}

impl Protocol {
    /// Reads a protocol's name, whatever its case (P-2).
    pub fn named(name: &str) -> Option<Self> {
        const NAMES: [(&str, Protocol); 12] = [
            ("http", Protocol::Http),
            ("http2", Protocol::Http2),
            ("grpc", Protocol::Grpc),
            ("grpc-web", Protocol::GrpcWeb),
            ("http_proxy", Protocol::HttpProxy),
            ("https", Protocol::Https),
            ("tls", Protocol::Tls),
            ("tcp", Protocol::Tcp),
            ("mongo", Protocol::Mongo),
            ("redis", Protocol::Redis),
            ("mysql", Protocol::Mysql),
            ("udp", Protocol::Udp),
        ];
        NAMES.iter().find(|(n, _)| name.eq_ignore_ascii_case(n)).map(|(_, p)| *p)
    }

    /// The protocol of a Kubernetes service port (P-1, P-2).
    pub fn of_port(transport: &str, app_protocol: Option<&str>, name: &str, number: u16) -> Self {
        if transport.eq_ignore_ascii_case("udp") {
            return Self::Udp;
        }
        if let Some(app) = app_protocol.filter(|a| !a.is_empty()) {
            return match app {
                "kubernetes.io/h2c" => Self::Http2,
                "kubernetes.io/ws" => Self::Http,
                "kubernetes.io/wss" => Self::Https,
                other => Self::named(other).unwrap_or(Self::Auto),
            };
        }
        Self::of_name(name).unwrap_or(match number {
            25 | 53 | 3306 | 27017 => Self::Tcp,
            _ => Self::Auto,
        })
    }

    fn of_name(name: &str) -> Option<Self> {
        const WEB: &str = "grpc-web";
        if name.get(..WEB.len()).is_some_and(|p| p.eq_ignore_ascii_case(WEB)) {
            return Some(Self::GrpcWeb);
        }
        Self::named(name.split('-').next().unwrap_or(name))
    }

    /// True where a byte stream begins as HTTP does: with a method, or with HTTP/2's preface.
    pub fn begins_http(bytes: &[u8]) -> bool {
        const STARTS: [&[u8]; 10] =
            [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PRI * HTTP/2.0"];
        STARTS.iter().any(|start| bytes.starts_with(start))
    }

    /// True where requests can be told apart (P-3).
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::HttpProxy | Self::Grpc | Self::GrpcWeb)
    }

    /// True where the endpoint is spoken to in HTTP/2 (G-48).
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_by_its_first_bytes() {
        for (bytes, want) in
            [("GET / HTTP/1.1\r\n", true), ("PRI * HTTP/2.0\r\n", true), ("GETTING", false), ("get / ", false), ("\x16\x03\x01", false), ("", false)]
        {
            assert_eq!(Protocol::begins_http(bytes.as_bytes()), want, "{bytes:?}");
        }
    }

    #[test]
    fn examples_97_to_99() {
        for (name, app, number, want) in [
            ("http-web", None, 80, Protocol::Http),
            ("web", Some("http"), 80, Protocol::Http),
            ("http-web", Some("tcp"), 80, Protocol::Tcp),
            ("grpc-web-x", None, 80, Protocol::GrpcWeb),
            ("grpc-x", None, 80, Protocol::Grpc),
            ("httpx", None, 80, Protocol::Auto),
            ("foo", None, 3306, Protocol::Tcp),
            ("foo", None, 8080, Protocol::Auto),
            ("HTTP2-a", None, 80, Protocol::Http2),
            ("a", Some("kubernetes.io/h2c"), 80, Protocol::Http2),
        ] {
            assert_eq!(Protocol::of_port("TCP", app, name, number), want, "{name} {app:?} {number}");
        }
    }
}
