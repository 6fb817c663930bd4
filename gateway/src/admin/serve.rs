//! The small servers beside the data path: readiness, metrics, admin. Each has a thread and a runtime of its own, so none
//! of them can delay a request, and a scrape cannot delay readiness.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use isthmus_core::balance::outlier::Cause;
use isthmus_core::balance::{Slot, Tallied};
use tracing::{error, info};

use super::api::Desk;
use super::ready::Readiness;
use super::stats;
use crate::listener::Listeners;
use crate::observe::{Own, exposition};
use crate::progress::Progress;
use crate::proxy::Engine;

/// Binds `address` and serves `router` on a thread of its own, as long as the process lives. Returns the address bound.
pub(crate) fn serve(name: &'static str, address: SocketAddr, router: Router) -> io::Result<SocketAddr> {
    let socket = TcpListener::bind(address).map_err(|e| io::Error::new(e.kind(), format!("{name} address {address}: {e}")))?;
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            axum::serve(socket, router).await
        });
        if let Err(error) = served {
            error!(server = name, %error, "server ended");
        }
    })?;
    info!(server = name, address = %bound, "serving");
    Ok(bound)
}

/// Readiness and liveness (15021).
pub(crate) fn status(ready: Arc<Readiness>) -> Router {
    let handler = move || {
        let ready = ready.clone();
        async move {
            match ready.check() {
                Ok(notes) => (StatusCode::OK, notes),
                Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
            }
        }
    };
    Router::new().route("/healthz/ready", get(handler.clone())).route("/ready", get(handler)).route("/healthz/live", get(|| async {}))
}

/// What a scrape reads.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// Where to ask for backends.
    pub(crate) desk: Desk,
    /// Istio's metrics, the access log, mirrors.
    pub(crate) engine: Arc<Engine>,
    /// The control thread's own.
    pub(crate) progress: Arc<Progress>,
    /// Sockets.
    pub(crate) listeners: Arc<Listeners>,
}

/// Metrics (15090).
pub(crate) fn metrics(scrape: Scrape) -> Router {
    let handler = move || {
        let scrape = scrape.clone();
        async move { scrape.answer().await }
    };
    Router::new().route("/stats/prometheus", get(handler.clone())).route("/metrics", get(handler))
}

impl Scrape {
    /// The page.
    pub(super) async fn answer(&self) -> (StatusCode, [(&'static str, &'static str); 1], String) {
        let slots = self.desk.slots().await.unwrap_or_default();
        let sources = self.desk.sources().await.unwrap_or_default();
        match exposition(&self.engine.observe.metrics, &[self.own(&slots), sources].concat()) {
            Ok(text) => {
                let counts = stats::prometheus(&stats::noteworthy(&slots, &self.engine.observe.traffic));
                (StatusCode::OK, [("content-type", "text/plain; version=0.0.4")], text + &counts)
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "text/plain")], error.to_string()),
        }
    }

    /// Our own metrics.
    fn own(&self, slots: &[Arc<Slot>]) -> Vec<Own> {
        let mut own = self.progress.gather();
        for status in self.listeners.status() {
            let labels = vec![("listener", status.key.to_string())];
            own.push(Own::Gauge("isthmus_connections", "Client connections by listener.", labels, status.connections as f64));
        }
        own.extend(ejections(slots));
        for slot in slots {
            let view = slot.view.load();
            let (all, eligible) = (view.members.len(), view.eligible().count());
            for (state, count) in [("eligible", eligible), ("other", all - eligible)] {
                let labels = vec![("backend", slot.key.to_string()), ("state", state.to_owned())];
                own.push(Own::Gauge("isthmus_endpoints", "Endpoints by backend, and whether they may get traffic.", labels, count as f64));
            }
        }
        let idle = self.engine.upstream.idle() as f64;
        own.push(Own::Gauge("isthmus_upstream_idle_connections", "HTTP/1 connections to endpoints that wait for a request.", Vec::new(), idle));
        let dropped = self.engine.mirrors.dropped() as f64;
        own.push(Own::Counter("isthmus_mirrors_dropped_total", "Copies not sent, since too many were under way.", Vec::new(), dropped));
        if let Some(log) = &self.engine.observe.log {
            let help = "Access log lines that were lost.";
            own.push(Own::Counter("isthmus_access_log_dropped_total", help, Vec::new(), log.dropped() as f64));
        }
        own
    }
}

/// What outlier detection did, for backends that have it or had it.
fn ejections(slots: &[Arc<Slot>]) -> Vec<Own> {
    let name = |slot: &Slot| vec![("backend", slot.key.to_string())];
    let watched = slots.iter().filter(|slot| slot.view.load().line.outlier.is_some() || slot.tallied() != Tallied::default());
    let help = "Endpoints that are left out for their behaviour now.";
    let mut own: Vec<Own> =
        watched.clone().map(|slot| Own::Gauge("isthmus_ejected_endpoints", help, name(slot), f64::from(slot.ejected()))).collect();
    for slot in watched {
        for (cause, count) in Cause::ALL.into_iter().zip(slot.tallied().enforced) {
            let labels = name(slot).into_iter().chain([("cause", cause.as_str().to_owned())]).collect();
            own.push(Own::Counter("isthmus_ejections_total", "Ejections by backend and cause.", labels, count as f64));
        }
    }
    own
}
