//! What happened: the access log and the metrics. Workers hand over one [`Record`] per request; nothing here waits.

mod access_log;
mod expose;
mod format;
mod grpc;
mod metrics;
mod record;
mod trial;

use std::sync::Arc;

pub(crate) use access_log::AccessLog;
pub(crate) use expose::{Own, exposition};
pub(crate) use format::{Format, utc};
pub(crate) use grpc::Messages;
pub(crate) use metrics::Metrics;
pub(crate) use record::{Record, RequestPart};
pub(crate) use trial::{NONCE, Trial, Trials};

/// Access log and metrics, shared by all workers.
#[derive(Debug)]
pub(crate) struct Observe {
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Requests of `isthmus try`.
    pub(crate) trials: Trials,
    /// The access log, where one is asked for.
    pub(crate) log: Option<AccessLog>,
}

impl Observe {
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
