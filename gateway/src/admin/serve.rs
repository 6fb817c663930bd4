//! The small servers beside the data path: readiness, metrics, admin. Each has a thread and a runtime of its own, so none
//! of them can delay a request, and a scrape cannot delay readiness.

use std::io;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tracing::{error, info};

use super::ready::Readiness;
use std::sync::Arc;

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
                Ok(()) => (StatusCode::OK, String::new()),
                Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
            }
        }
    };
    Router::new().route("/healthz/ready", get(handler.clone())).route("/ready", get(handler)).route("/healthz/live", get(|| async {}))
}

/// The text that a scrape gets, or why there is none.
pub(crate) type Scrape = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Metrics (15090).
pub(crate) fn metrics(scrape: Scrape) -> Router {
    let handler = move || {
        let scrape = scrape.clone();
        async move {
            match scrape() {
                Ok(text) => (StatusCode::OK, [("content-type", "text/plain; version=0.0.4")], text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "text/plain")], error),
            }
        }
    };
    Router::new().route("/stats/prometheus", get(handler.clone())).route("/metrics", get(handler))
}
