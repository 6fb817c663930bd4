//! What an explanation is made of; the command line prints it, the admin port sends it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::balance::breaker::{Usage, Usages};
use crate::balance::{Level, Member, Slot, Standing, View};
use crate::failure::{Flags, Reply};
use crate::model::Health;

use super::Question;

/// One request's decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Method and URL.
    pub request: String,
    /// Where the gateway stands in what is told; empty where it stands nowhere known.
    #[serde(default)]
    pub from: String,
    /// The listener that takes it.
    pub listener: Option<ListenerTold>,
    /// The servers that share the listener.
    pub servers: Vec<ServerTold>,
    /// The virtual host of its authority.
    pub virtual_host: Option<VirtualHostTold>,
    /// Routes that were tried before the winner.
    pub passed_over: Vec<PassedOver>,
    /// The route that won.
    pub route: Option<RouteTold>,
    /// Where it may go.
    pub destinations: Vec<DestinationTold>,
    /// What is answered, where that is known without an endpoint.
    pub answer: Option<AnswerTold>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl Explanation {
    pub(super) fn of(question: &Question) -> Self {
        let scheme = if question.tls { "https" } else { "http" };
        Self { request: format!("{} {scheme}://{}{}", question.method, question.authority, question.target), ..Self::default() }
    }
}

/// A place in an object, and in the file that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Place {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    pub file: String,
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{} {}", self.kind, self.namespace, self.name, self.path)?;
        match (self.file.is_empty(), self.line) {
            (true, _) => Ok(()),
            (false, 0) => write!(f, " ({})", self.file),
            (false, line) => write!(f, " ({}:{line})", self.file),
        }
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ListenerTold {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
}

/// A Gateway's server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ServerTold {
    pub place: Place,
    pub port: u16,
    pub protocol: String,
    pub hosts: Vec<String>,
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualHostTold {
    /// `host:port`.
    pub name: String,
    /// The domain that the request's host met.
    pub domain: String,
    /// How many routes it has.
    pub routes: usize,
}

/// A route that did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its position, from 0.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub rule: Place,
    /// The condition that failed.
    pub reason: String,
}

/// The route that won.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTold {
    /// Its position, from 0.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub rule: Place,
    /// The root VirtualService's rule, where a delegate supplied this one.
    pub root: Option<String>,
    /// What it asks of a request.
    pub matched: String,
    /// Faults, cross-origin rules, timeouts, retries and mirrors in words.
    pub words: Vec<String>,
    /// What becomes of the request's head.
    pub edits: Vec<Edit>,
}

/// One difference between the client's head and what the endpoint gets, or what the client gets beside the endpoint's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// `request` or `response`.
    pub of: String,
    /// `path`, `authority` or a header's name.
    pub what: String,
    /// What stood there.
    pub before: Option<String>,
    /// What stands there then.
    pub after: Option<String>,
}

/// A destination with its share and endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationTold {
    /// `outbound|80||host`.
    pub backend: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its subset, or "".
    pub subset: String,
    /// Its share of requests, 0 to 1.
    pub share: f64,
    /// Why nobody will answer, where nobody will.
    pub problem: Option<String>,
    /// How an endpoint is chosen.
    pub balancing: String,
    /// What it may have at once, and has.
    #[serde(default)]
    pub limits: Vec<LimitTold>,
    /// Which endpoints come first, in words.
    #[serde(default)]
    pub lined_up: String,
    /// By priority: how healthy it is and what it gets.
    #[serde(default)]
    pub priorities: Vec<PriorityTold>,
    /// Its endpoints, by priority.
    pub endpoints: Vec<EndpointTold>,
    /// How many more there are.
    pub more_endpoints: usize,
    /// Edits, where they differ from the route's first destination.
    pub edits: Vec<Edit>,
}

/// Something that a backend may have at once, with what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitTold {
    /// Istio's name of the limit.
    pub field: String,
    /// The limit, where there is one.
    pub limit: Option<u32>,
    /// How many there are.
    pub used: u32,
    /// The most there have been at once.
    pub peak: u32,
    /// How often the limit was in the way.
    pub overflow: u64,
    /// The limit is reached.
    pub open: bool,
}

impl LimitTold {
    pub(super) fn all(slot: &Slot) -> Vec<Self> {
        let Usages { connections, pending, requests, retries, pending_failed: _, connections_served: _ } = slot.usage();
        let fields = [("maxConnections", connections), ("http1MaxPendingRequests", pending), ("http2MaxRequests", requests), ("maxRetries", retries)];
        let one = |(field, usage): (&str, Usage)| {
            let Usage { limit, used, peak, taken: _, overflow } = usage;
            Self { field: field.to_owned(), limit, used, peak, overflow, open: usage.is_open() }
        };
        fields.into_iter().map(one).collect()
    }
}

/// An ejection for behaviour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EjectionTold {
    /// Why, in the words of Envoy's event log.
    pub cause: String,
    /// When it began (UTC).
    pub since: String,
    /// When it ends, or has ended unless something ended it before (UTC).
    pub until: String,
}

/// A priority with its health and share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriorityTold {
    /// 0 is tried first.
    pub priority: u32,
    /// Percent of the backend's traffic that it gets; what its health does not let it take spills to the next (L-26).
    pub load: u32,
    /// How many of its endpoints may get traffic.
    pub healthy: u32,
    /// How many there are.
    pub total: u32,
    /// Health is ignored in it (D-42).
    pub panic: bool,
    /// The localities in it.
    pub localities: Vec<LocalityTold>,
}

/// A locality within a priority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalityTold {
    /// Region, zone and subzone.
    pub locality: String,
    /// Its weight, where localities are weighted.
    pub weight: Option<u64>,
    /// How many of its endpoints may get traffic.
    pub healthy: u32,
    /// How many there are.
    pub total: u32,
    /// Its share of the backend's traffic, 0 to 1.
    pub share: f64,
}

impl PriorityTold {
    pub(super) fn of(view: &View, standings: &[Standing]) -> Vec<Self> {
        let one = |(priority, level): (u32, &Level)| Self {
            priority,
            load: level.load,
            healthy: level.census.healthy,
            total: level.census.total,
            panic: level.panic,
            localities: standings.iter().filter(|s| s.priority == priority).map(LocalityTold::of).collect(),
        };
        (0..).zip(&view.levels).map(one).collect()
    }
}

impl LocalityTold {
    fn of(standing: &Standing) -> Self {
        let Standing { locality, weight, census, share, .. } = standing;
        Self { locality: locality.to_string(), weight: *weight, healthy: census.healthy, total: census.total, share: *share }
    }
}

/// An endpoint with its odds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct EndpointTold {
    pub address: String,
    pub cluster: String,
    pub locality: String,
    pub workload: String,
    pub health: String,
    /// Its priority; none where the locality setting leaves it out.
    #[serde(default)]
    pub priority: Option<u32>,
    /// Requests in flight.
    #[serde(default)]
    pub active: u32,
    /// How often it was ejected.
    #[serde(default)]
    pub ejections: u32,
    /// The ejection that it is in.
    #[serde(default)]
    pub ejection: Option<EjectionTold>,
    /// How likely it is, 0 to 1.
    pub odds: f64,
}

impl EndpointTold {
    pub(super) fn of(member: &Member, priority: Option<u32>, odds: f64) -> Self {
        let workload = &member.endpoint.workload;
        let health = match member.endpoint.health {
            Health::Healthy if member.state.is_ejected() => "ejected",
            Health::Healthy if member.state.is_on_trial() => "on trial",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Draining => "draining",
        };
        Self {
            address: member.address().to_string(),
            cluster: workload.cluster().to_string(),
            locality: workload.locality().to_string(),
            workload: workload.name.to_string(),
            health: health.to_owned(),
            priority,
            active: member.state.active(),
            ejections: member.state.ejections(),
            ejection: None,
            odds,
        }
    }
}

/// An answer that the gateway gives by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct AnswerTold {
    pub status: u16,
    pub flags: String,
    pub details: String,
    pub location: Option<String>,
    pub body: String,
}

impl AnswerTold {
    pub(super) fn of(reply: &Reply, details: &str, flags: Flags) -> Self {
        let location = reply.headers.get(http::header::LOCATION).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let body = String::from_utf8_lossy(&reply.body[..reply.body.len().min(200)]).into_owned();
        Self { status: reply.status, flags: flags.to_string(), details: details.to_owned(), location, body }
    }
}
