//! Backends as rows, with what they hold beside their limits.

use isthmus_core::balance::Slot;
use isthmus_core::balance::breaker::{Usage, Usages};
use isthmus_core::model::Resolution;
use serde::{Deserialize, Serialize};

use crate::admin::now::Now;

/// What a route can send to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackendRow {
    pub(crate) backend: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) subset: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) destination_rule: String,
    pub(crate) namespace: String,
    pub(crate) used: bool,
    pub(crate) endpoints: usize,
    pub(crate) healthy: usize,
    /// How long connecting took of late, in milliseconds.
    #[serde(default)]
    pub(crate) connect_ms: Option<f64>,
    /// What limits are about, where a route sends to it; `None` elsewhere.
    pub(crate) usage: Option<UsageRow>,
}

/// What a backend holds, beside its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageRow {
    /// Open connections (maxConnections).
    pub(crate) connections: HeldRow,
    /// Requests that wait for one (http1MaxPendingRequests).
    pub(crate) pending: HeldRow,
    /// Requests in flight (http2MaxRequests); peak and total only where there is a limit or a budget.
    pub(crate) requests: HeldRow,
    /// Retries (maxRetries, or what the budget allows now).
    pub(crate) retries: HeldRow,
}

/// One kind of what a backend holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldRow {
    pub(crate) limit: Option<u32>,
    pub(crate) used: u32,
    pub(crate) peak: u32,
    pub(crate) total: u64,
    /// How often the limit was in the way.
    pub(crate) overflow: u64,
}

impl From<Usage> for HeldRow {
    fn from(Usage { limit, used, peak, taken, overflow }: Usage) -> Self {
        Self { limit, used, peak, total: taken, overflow }
    }
}

impl UsageRow {
    fn of(slot: &Slot) -> Self {
        let Usages { connections, pending, requests, retries, .. } = slot.usage();
        Self { connections: connections.into(), pending: pending.into(), requests: requests.into(), retries: retries.into() }
    }
}

impl Now {
    /// `get backends`.
    pub(crate) fn backend_rows(&self) -> Vec<BackendRow> {
        let rows = self.backends.iter().map(|backend| BackendRow {
            backend: backend.key.to_string(),
            host: backend.key.host.to_string(),
            port: backend.key.port,
            subset: backend.key.subset.to_string(),
            kind: match backend.service.resolution {
                // At a gateway there is no original destination to go to.
                Resolution::None | Resolution::Static => "EDS",
                Resolution::Dns => "STRICT_DNS",
                Resolution::DnsRoundRobin => "LOGICAL_DNS",
                Resolution::DynamicDns => "DYNAMIC_DNS",
            }
            .to_owned(),
            destination_rule: backend.rules.join(", "),
            namespace: backend.service.namespace.to_string(),
            used: backend.slot.is_some(),
            endpoints: backend.view.members.len(),
            healthy: backend.view.eligible().count(),
            usage: backend.slot.as_deref().map(UsageRow::of),
            connect_ms: backend.slot.as_ref().and_then(|s| s.connect_time()).map(|t| (t.as_secs_f64() * 1e5).round() / 100.0),
        });
        rows.collect()
    }
}
