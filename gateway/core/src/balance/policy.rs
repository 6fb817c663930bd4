//! A backend's traffic policy, resolved: how endpoints are chosen, and how connections to them are made and kept.
//!
//! Values only; what they lead to is told by `pool`, `pick` and whoever dials.

use std::fmt;
use std::time::Duration;

use super::limits::Limits;
use super::warmup::WarmUp;

/// How an endpoint is chosen (contract 1.5, loadBalancer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lb {
    /// In turn, by weight.
    RoundRobin,
    /// The less busy of two drawn by weight; Istio's default.
    LeastRequest,
    /// Any, whatever the weight.
    Random,
    /// A ring of at least so many entries.
    RingHash {
        /// minimumRingSize.
        minimum: u32,
    },
    /// A Maglev table of a prime size.
    Maglev {
        /// tableSize.
        size: u32,
    },
    /// To the original destination: unusable at a gateway (D-30), so no endpoint is ever picked.
    Passthrough,
}

impl Lb {
    /// True where a hash of the request decides.
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}

/// In what the endpoint is spoken to (G-48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// As the client spoke to us.
    SameAsClient,
}

/// A backend's traffic policy, resolved (D-20..D-24).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackendPolicy {
    /// How an endpoint is chosen.
    pub lb: Lb,
    /// In what it is spoken to.
    pub protocol: UpstreamProtocol,
    /// How long connecting may take, handshakes included.
    pub connect_timeout: Duration,
    /// How long a connection may stay unused.
    pub idle_timeout: Duration,
    /// Percent of healthy endpoints of a priority below which health is ignored; 0 is never. Above 0, UNHEALTHY endpoints are left
    /// out, not only passed over (D-42, M-14).
    pub panic_below: u32,
    /// How the share of a new endpoint grows (D-32); ROUND_ROBIN and LEAST_REQUEST alone.
    pub warm_up: Option<WarmUp>,
    /// How long a request waits where no endpoint may get traffic for a moment; zero answers at once, as Istio does.
    pub endpoint_wait: Duration,
    /// What it may have at once.
    pub limits: Limits,
    /// How its connections are kept.
    pub keeping: Keeping,
}

/// What holds where no rule says a word.
impl Default for BackendPolicy {
    fn default() -> Self {
        Self {
            lb: Lb::LeastRequest,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3600),
            panic_below: 0,
            warm_up: None,
            endpoint_wait: Duration::ZERO,
            limits: Limits::NONE,
            keeping: Keeping::PLAIN,
        }
    }
}

/// What few rules ask for is told only where one does.
impl fmt::Debug for BackendPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lb, protocol, connect_timeout, idle_timeout, panic_below, warm_up, endpoint_wait, limits, keeping } = self;
        let mut told = f.debug_struct("BackendPolicy");
        told.field("lb", lb).field("protocol", protocol).field("connect_timeout", connect_timeout);
        told.field("idle_timeout", idle_timeout).field("panic_below", panic_below);
        if let Some(warm_up) = warm_up {
            told.field("warm_up", warm_up);
        }
        if !endpoint_wait.is_zero() {
            told.field("endpoint_wait", endpoint_wait);
        }
        if *limits != Limits::NONE {
            told.field("limits", &format_args!("{limits}"));
        }
        if *keeping != Keeping::PLAIN {
            told.field("keeping", keeping);
        }
        told.finish()
    }
}

/// How connections to endpoints are kept (contract 1.5, connectionPool). `None` is no limit, or the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keeping {
    /// Requests that one may carry (maxRequestsPerConnection).
    pub requests: Option<u32>,
    /// Streams that one may carry at once (maxConcurrentStreams).
    pub streams: Option<u32>,
    /// How old one may grow (maxConnectionDuration).
    pub longest: Option<Duration>,
    /// How long nothing may pass on a byte stream (tcp.idleTimeout); zero is for ever, `None` an hour.
    pub stream_idle: Option<Duration>,
    /// Probes of TCP on connections where nothing is said.
    pub probes: Option<Probes>,
    /// Pings of HTTP/2: how often, and how long the answer may take.
    pub ping: Option<(Duration, Duration)>,
}

impl Keeping {
    /// Nothing was asked for.
    pub const PLAIN: Self = Self { requests: None, streams: None, longest: None, stream_idle: None, probes: None, ping: None };
}

/// TCP keep-alive; `None` is the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probes {
    /// Probes without an answer after which the connection is dead.
    pub count: Option<u32>,
    /// Silence before the first.
    pub after: Option<Duration>,
    /// Time between two.
    pub every: Option<Duration>,
}
