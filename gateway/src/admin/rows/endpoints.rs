//! Endpoints as rows: those that are dialled, and those that nothing leads to, with the reason.

use isthmus_core::balance::across::{self, named};
use isthmus_core::explain::EjectionTold;
use isthmus_core::model::{Endpoint, Health};
use serde::{Deserialize, Serialize};

use crate::admin::now::{Backend, Now};

/// An address behind a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointRow {
    pub(crate) endpoint: String,
    pub(crate) status: String,
    pub(crate) outlier_check: String,
    pub(crate) backend: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) cluster: String,
    pub(crate) network: String,
    pub(crate) locality: String,
    pub(crate) workload: String,
    pub(crate) namespace: String,
    pub(crate) weight: u32,
    pub(crate) active: u32,
    /// How often it was ejected.
    pub(crate) ejections: u32,
    /// The ejection that it is in, or the last one as long as that has an effect on the next.
    pub(crate) ejection: Option<EjectionTold>,
    pub(crate) source: String,
    /// Since when its probe fails, and why.
    pub(crate) probe: String,
    /// The gateways of its network that it is behind, or "".
    pub(crate) gateways: String,
    /// Why it gets no traffic, where that is not its status; or "".
    pub(crate) why: String,
}

impl Now {
    /// `get endpoints`.
    pub(crate) fn endpoint_rows(&self) -> Vec<EndpointRow> {
        let mut rows = Vec::new();
        for backend in &self.backends {
            rows.extend(backend.view.members.iter().map(|member| {
                let (state, workload) = (&member.state, &member.endpoint.workload);
                EndpointRow {
                    outlier_check: if state.is_ejected() { "FAILED" } else { "OK" }.to_owned(),
                    active: state.active(),
                    ejections: state.ejections(),
                    ejection: self.stays.of(state),
                    probe: self.failing.get(&(workload.cluster().clone(), (*member.endpoint.source).clone())).cloned().unwrap_or_default(),
                    ..endpoint_row(backend, &member.endpoint)
                }
            }));
            rows.extend(backend.left_out.iter().map(|(endpoint, why)| {
                let gateways = endpoint.gateways().map(|g| named(&g.list)).unwrap_or_default();
                EndpointRow { status: "UNREACHABLE".to_owned(), gateways, why: across::why(endpoint, *why), ..endpoint_row(backend, endpoint) }
            }));
        }
        rows.sort_by(|a, b| (&a.backend, &a.endpoint).cmp(&(&b.backend, &b.endpoint)));
        rows
    }
}

fn endpoint_row(backend: &Backend, endpoint: &Endpoint) -> EndpointRow {
    let workload = &endpoint.workload;
    let status = match endpoint.health {
        Health::Healthy => "HEALTHY",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    };
    EndpointRow {
        endpoint: endpoint.address.to_string(),
        status: status.to_owned(),
        outlier_check: "OK".to_owned(),
        backend: backend.key.to_string(),
        host: backend.key.host.to_string(),
        port: backend.key.port,
        cluster: workload.cluster().to_string(),
        network: workload.network().to_string(),
        locality: endpoint.locality().to_string(),
        workload: workload.name.to_string(),
        namespace: workload.namespace().to_string(),
        weight: endpoint.weight,
        active: 0,
        ejections: 0,
        ejection: None,
        source: endpoint.source.to_string(),
        probe: String::new(),
        gateways: String::new(),
        why: String::new(),
    }
}
