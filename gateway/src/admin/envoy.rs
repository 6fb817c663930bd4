//! Pages of the admin port that are Envoy's, for scripts that people have (contract/envoy.md 11.2, `docs/stats.md`).

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::api::Office;
use super::hosts;
use super::stats::{self, Wish};

/// The pages.
pub(super) fn pages() -> Router<Office> {
    Router::new()
        .route("/stats", get(counts))
        .route("/stats/prometheus", get(|State(office): State<Office>| async move { office.scrape.answer().await }))
        .route("/clusters", get(clusters))
        .route("/ready", get(|State(office): State<Office>| async move { office.ready.state() }))
        .route("/server_info", get(server_info))
}

async fn counts(State(office): State<Office>, Query(wish): Query<Wish>) -> Response {
    let slots = office.desk.slots().await.unwrap_or_default();
    match (wish.choose(stats::all(&slots, &office.observe.traffic)), wish.format.as_deref()) {
        (Err(error), _) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        (Ok(stats), Some("json")) => Json(stats::json(&stats)).into_response(),
        (Ok(stats), Some("prometheus")) => stats::prometheus(&stats).into_response(),
        (Ok(stats), None | Some("text")) => stats::text(&stats).into_response(),
        (Ok(_), Some(other)) => (StatusCode::BAD_REQUEST, format!("format is json, prometheus or text, not {other}\n")).into_response(),
    }
}

async fn clusters(State(office): State<Office>, Query(wish): Query<Wish>) -> Response {
    let (slots, traffic) = (office.desk.slots().await.unwrap_or_default(), &office.observe.traffic);
    match wish.format.as_deref() {
        Some("json") => Json(hosts::json(&slots, traffic)).into_response(),
        None | Some("text") => hosts::text(&slots, traffic).into_response(),
        Some(other) => (StatusCode::BAD_REQUEST, format!("format is json or text, not {other}\n")).into_response(),
    }
}

async fn server_info(State(office): State<Office>) -> Response {
    let (_, state) = office.ready.state();
    let gateway = &office.asked.settings.gateway;
    Json(json!({
        "version": concat!("isthmus/", env!("CARGO_PKG_VERSION")),
        "state": state.trim_end(),
        "uptime_current_epoch": format!("{}s", office.since.elapsed().as_secs()),
        "node": {"id": format!("{}.{}", gateway.name, gateway.namespace), "cluster": gateway.cluster.as_str()},
    }))
    .into_response()
}
