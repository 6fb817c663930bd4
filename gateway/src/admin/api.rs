//! The admin port (loopback 15000): what is in force, one decision explained, the log level.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use isthmus_config::name::Locality;
use isthmus_core::balance::Slot;
use isthmus_core::explain::{CLIENT, Question, explain, fields};
use isthmus_core::snapshot::{Dump, Snapshot};
use isthmus_core::whatif::{By, Down, NotDown, whatif};
use isthmus_discovery::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::check::{self, Posted};
use super::envoy;
use super::now::Now;
use super::ready::Readiness;
use super::serve::Scrape;
use crate::asked::Asked;
use crate::log::Levels;
use crate::observe::{Observe, Own};
use crate::ward::Stays;

/// Where to ask the control thread what is in force.
#[derive(Clone, Debug)]
pub(crate) struct Desk(mpsc::Sender<Ask>);

/// A question to the control thread. Whoever asked may have gone away.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Everything but what analysis finds.
    Now(oneshot::Sender<Now>),
    /// Everything.
    Analysed(oneshot::Sender<Now>),
    /// The routes in force and who is ejected.
    Present(oneshot::Sender<(Arc<Snapshot>, Stays)>),
    /// What a scrape tells of clusters and probes.
    Sources(oneshot::Sender<Vec<Own>>),
    /// A copy of all that is known, to suppose something of it.
    Known(oneshot::Sender<Registry>),
    /// The backends that routes send to; all that a scrape needs, and cheap.
    Slots(oneshot::Sender<Vec<Arc<Slot>>>),
}

/// Questions to the control thread.
pub(crate) type Questions = mpsc::Receiver<Ask>;

impl Desk {
    /// A desk, and the end at which the control thread listens.
    pub(crate) fn open() -> (Self, Questions) {
        let (ask, questions) = mpsc::channel(16);
        (Self(ask), questions)
    }
    /// What is in force; `None` while the gateway ends.
    pub(crate) async fn now(&self) -> Option<Now> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Now(reply)).await.ok()?;
        answer.await.ok()
    }
    /// What is in force, with what analysis finds.
    pub(crate) async fn analysed(&self) -> Option<Now> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Analysed(reply)).await.ok()?;
        answer.await.ok()
    }
    /// The routes in force and who is ejected.
    pub(crate) async fn present(&self) -> Option<(Arc<Snapshot>, Stays)> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Present(reply)).await.ok()?;
        answer.await.ok()
    }
    /// What a scrape tells of clusters and probes.
    pub(crate) async fn sources(&self) -> Option<Vec<Own>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Sources(reply)).await.ok()?;
        answer.await.ok()
    }
    /// A copy of all that is known.
    pub(crate) async fn known(&self) -> Option<Registry> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Known(reply)).await.ok()?;
        answer.await.ok()
    }
    /// The backends that routes send to.
    pub(crate) async fn slots(&self) -> Option<Vec<Arc<Slot>>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Slots(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// What the admin port's handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    /// Where to ask.
    pub(crate) desk: Desk,
    /// Access log and metrics.
    pub(crate) observe: Arc<Observe>,
    /// What a scrape reads.
    pub(crate) scrape: Scrape,
    /// Whether the gateway is ready.
    pub(crate) ready: Arc<Readiness>,
    /// Since when it runs.
    pub(crate) since: Instant,
    /// What to log.
    pub(crate) levels: Levels,
    /// What the gateway was started with.
    pub(crate) asked: Arc<Asked>,
}

/// A request to explain, as the command line posts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExplainForm {
    pub(crate) method: String,
    pub(crate) tls: bool,
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) target: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// Where the gateway stands, instead of where it does.
    #[serde(default)]
    pub(crate) from: Option<String>,
}

impl From<ExplainForm> for Question {
    fn from(form: ExplainForm) -> Self {
        let headers = fields(form.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let ExplainForm { method, tls, port, authority, target, headers: _, from } = form;
        Self { method, tls, port, authority, target, headers, client: CLIENT, from: from.map(|f| f.as_str().into()) }
    }
}

/// What is supposed to be down, as the command line posts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WhatifForm {
    /// `cluster=c1` and so on.
    pub(crate) down: Vec<String>,
    /// Where the gateway stands, instead of where it does.
    #[serde(default)]
    pub(crate) from: Option<String>,
}

impl WhatifForm {
    /// What is down.
    pub(crate) fn down(&self) -> Result<Vec<Down>, NotDown> {
        self.down.iter().map(|d| d.parse()).collect()
    }
    /// Where the gateway stands.
    pub(crate) fn from(&self) -> Option<Locality> {
        self.from.as_deref().map(Into::into)
    }
}

#[derive(Deserialize)]
struct MatrixForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    by: By,
}

#[derive(Deserialize)]
struct Level {
    level: Option<String>,
}

/// The paths of the admin port.
const PATHS: &str = "/config /listeners /routes /backends /endpoints /remote-clusters /problems /matrix?name=&by=region /logging?level=
\
    by POST: /explain /whatif /check /try
\
    as Envoy has them: /stats?filter= /stats/prometheus /clusters /ready /server_info
";

/// The admin port.
pub(crate) fn admin(office: Office) -> Router {
    macro_rules! rows {
        ($rows:ident) => {
            get(|State(office): State<Office>| async move { answer(office.desk.now().await.map(|now| now.$rows())) })
        };
    }
    Router::new()
        .route("/", get(|| async { PATHS }))
        .route("/config", get(config))
        .route("/listeners", rows!(listener_rows))
        .route("/routes", rows!(route_rows))
        .route("/backends", rows!(backend_rows))
        .route("/endpoints", rows!(endpoint_rows))
        .route("/remote-clusters", rows!(cluster_rows))
        .route("/problems", get(problems))
        .route("/matrix", get(matrix))
        .route("/explain", post(explained))
        .route("/whatif", post(supposed))
        .route("/check", post(lay_over))
        .route("/try", post(register))
        .route("/logging", get(logging).post(logging))
        .merge(envoy::pages())
        .with_state(office)
}

/// A value as JSON, or that the gateway ends.
fn answer<T: Serialize>(value: Option<T>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the gateway ends\n").into_response(),
    }
}

async fn config(State(office): State<Office>) -> Response {
    answer(office.desk.now().await.map(|now| Dump::of(&now.snapshot, now.backends.iter().filter_map(|b| b.slot.as_ref()))))
}

async fn problems(State(office): State<Office>) -> Response {
    answer(office.desk.analysed().await.map(|now| now.problem_rows()))
}

async fn explained(State(office): State<Office>, Json(form): Json<ExplainForm>) -> Response {
    answer(office.desk.present().await.map(|(snapshot, stays)| explain(&snapshot, &form.into(), &|state| stays.of(state), Instant::now())))
}

async fn supposed(State(office): State<Office>, Json(form): Json<WhatifForm>) -> Response {
    match form.down() {
        Ok(down) => answer(office.desk.present().await.map(|(snapshot, _)| whatif(&snapshot, &down, form.from().as_ref()))),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn matrix(State(office): State<Office>, Query(asked): Query<MatrixForm>) -> Response {
    answer(office.desk.now().await.map(|now| now.matrices(&asked.name, asked.by)))
}

async fn lay_over(State(office): State<Office>, Json(files): Json<Vec<Posted>>) -> Response {
    let Some(known) = office.desk.known().await else { return answer::<()>(None) };
    let checking = tokio::task::spawn_blocking(move || check::posted(known, &office.asked, &files));
    match checking.await.map_err(std::io::Error::other).flatten() {
        Ok(answered) => Json(answered).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn register(State(office): State<Office>, nonce: String) -> Response {
    if nonce.len() < 16 || nonce.len() > 64 || !nonce.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return (StatusCode::BAD_REQUEST, "a nonce has 16 to 64 letters and digits\n").into_response();
    }
    office.observe.trials.register(&nonce, Instant::now());
    "registered\n".into_response()
}

async fn logging(State(office): State<Office>, Query(asked): Query<Level>) -> Response {
    match asked.level {
        None => format!("{}\n", office.levels.get()).into_response(),
        Some(level) => match office.levels.set(&level) {
            Ok(()) => format!("{}\n", office.levels.get()).into_response(),
            Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        },
    }
}
