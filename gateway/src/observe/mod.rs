//! What happened: the access log and the metrics. Workers hand over one [`Record`] per request; nothing here waits.

mod access_log;
mod expose;
mod format;
mod grpc;
mod metrics;
mod record;
mod traffic;
mod trial;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use access_log::AccessLog;
pub(crate) use expose::{Own, exposition};
pub(crate) use format::{Format, utc};
pub(crate) use grpc::Messages;
pub(crate) use metrics::{Metrics, StreamMeter};
pub(crate) use record::{Record, RequestPart};
pub(crate) use traffic::{Counter, Opened, Traffic};
pub(crate) use trial::{NONCE, Trial, Trials};

/// Access log and metrics, shared by all workers.
#[derive(Debug)]
pub(crate) struct Observe {
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Counts of backends and endpoints.
    pub(crate) traffic: Arc<Traffic>,
    /// Requests of `isthmus try`.
    pub(crate) trials: Trials,
    /// The access log, where one is asked for.
    pub(crate) log: Option<AccessLog>,
}

impl Observe {
    /// Forgets the counts of what has been gone for long enough. To be called now and then.
    pub(crate) fn forget(&self, now: Instant) {
        self.metrics.forget(now);
        self.traffic.forget();
    }
    /// Counts and logs a request, or logs a byte stream (whose bytes its meter counted), that has ended.
    pub(crate) fn ended(&self, record: &Record<'_>) {
        if let Some(request) = record.request {
            self.metrics.request(record, request.grpc);
        }
        if let Some(log) = &self.log {
            log.log(record);
        }
    }
}

#[cfg(test)]
mod tests;
