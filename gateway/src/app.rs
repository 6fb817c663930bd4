//! Wiring, and nothing else: discovery to the control thread, the control thread to the engine, everything to whoever looks.
//!
//! Threads: workers carry requests, one control thread compiles and publishes, each small server has its own, one writes the
//! access log, and the caller's own waits for signals.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use isthmus_config::mesh::AccessLogEncoding;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::compile::Compiler;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::admin::{self, Desk, Office, Readiness};
use crate::asked::Asked;
use crate::listener::Listeners;
use crate::log::Levels;
use crate::observe::{AccessLog, Format, Metrics, Observe, Trials};
use crate::progress::Progress;
use crate::proxy::Engine;
use crate::reconcile::Reconcile;
use crate::ward::Ward;
use crate::warming::Warming;

/// Signals this close to each other are one.
const TWICE: Duration = Duration::from_millis(500);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct StartError {
    what: &'static str,
    why: String,
}

fn failed<E: Display>(what: &'static str) -> impl FnOnce(E) -> StartError {
    move |error| StartError { what, why: error.to_string() }
}

/// A gateway that runs.
#[derive(Debug)]
pub(crate) struct App {
    /// Whether it is ready.
    pub(crate) ready: Arc<Readiness>,
    /// Where its admin port is.
    pub(crate) admin: SocketAddr,
    observe: Arc<Observe>,
    listeners: Arc<Listeners>,
    grace: Duration,
    workers: Runtime,
}

impl App {
    /// Starts everything. Readiness says when it serves.
    pub(crate) fn start(mut asked: Asked, levels: Levels) -> Result<Self, StartError> {
        let observe = Arc::new(observe(&mut asked)?);
        let threads = match asked.bootstrap.gateway.threads {
            0 => available_parallelism().map_or(1, usize::from),
            told => told,
        };
        let workers = Builder::new_multi_thread().worker_threads(threads).thread_name("worker").enable_all().build();
        let workers = workers.map_err(failed("worker threads"))?;
        let (eject, ejections) = tokio::sync::mpsc::unbounded_channel();
        let engine = Arc::new(Engine::new(threads, observe.clone(), eject));
        let upstream = engine.upstream.clone();
        workers.spawn(async move { upstream.sweep().await });
        let listeners = Listeners::new(engine.clone(), workers.handle().clone(), asked.bootstrap.drain.0);
        let (ready, progress) = (Arc::<Readiness>::default(), Arc::<Progress>::default());
        let (desk, questions) = Desk::open();
        let bootstrap = &asked.bootstrap;
        admin::serve("status", bootstrap.status, admin::status(ready.clone())).map_err(failed("status server"))?;
        let scrape = admin::Scrape { desk: desk.clone(), engine: engine.clone(), progress: progress.clone(), listeners: listeners.clone() };
        admin::serve("metrics", bootstrap.metrics, admin::metrics(scrape.clone())).map_err(failed("metrics server"))?;
        let office =
            Office { desk, observe: observe.clone(), scrape, ready: ready.clone(), since: Instant::now(), levels, asked: Arc::new(asked.clone()) };
        let admin = admin::serve("admin", bootstrap.admin, admin::admin(office)).map_err(failed("admin server"))?;
        let app = Self { ready: ready.clone(), admin, observe: observe.clone(), listeners: listeners.clone(), grace: bootstrap.grace.0, workers };
        let patience = Instant::now() + bootstrap.remote_timeout.0;
        let control = Builder::new_current_thread().enable_all().build().map_err(failed("control thread"))?;
        let (registry, batches) = {
            let _inside = control.enter();
            isthmus_discovery::start(asked.settings.clone()).map_err(failed("discovery"))?
        };
        let reconcile = Reconcile {
            registry,
            batches,
            compiler: Compiler::new(rand::random()),
            engine,
            listeners,
            ready,
            observe,
            progress,
            questions,
            config_cluster: asked.settings.config_cluster.clone(),
            asked: asked.problems,
            patience,
            findings: Vec::new(),
            retired: Vec::new(),
            ejections,
            ward: Ward::default(),
            warming: Warming::default(),
        };
        let run = move || control.block_on(reconcile.run());
        std::thread::Builder::new().name("control".to_owned()).spawn(run).map_err(failed("control thread"))?;
        info!(version = env!("CARGO_PKG_VERSION"), threads, "started");
        Ok(app)
    }

    /// Serves until a signal says to end. SIGTERM fails readiness and goes on accepting for the grace; then, and at once on
    /// SIGINT, no more connections are taken and those there have the drain time. A second signal, half a second later or more, ends at once.
    pub(crate) fn until_signal(self) -> Result<(), StartError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed("signals"))?;
        let ended = runtime.block_on(async {
            let mut term = signal(SignalKind::terminate())?;
            let mut int = signal(SignalKind::interrupt())?;
            let mut reopen = signal(SignalKind::user_defined1())?;
            let grace = loop {
                tokio::select! {
                    _ = term.recv() => break self.grace,
                    _ = int.recv() => break Duration::ZERO,
                    _ = reopen.recv() => self.reopen_log(),
                }
            };
            info!(?grace, "shutting down");
            self.ready.stop();
            let gently = async {
                tokio::time::sleep(grace).await;
                self.listeners.drain().await;
            };
            let again = async {
                // A supervisor may send one wish twice, to us and to our group.
                tokio::time::sleep(TWICE).await;
                let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
                io::Result::Ok(())
            };
            tokio::select! {
                () = gently => info!("drained"),
                told = again => {
                    told?;
                    warn!("second signal, ending at once");
                }
            }
            io::Result::Ok(())
        });
        self.stop();
        ended.map_err(failed("signals"))
    }

    /// Ends at once; what is logged is written.
    pub(crate) fn stop(self) {
        self.workers.shutdown_background();
        if let Some(log) = &self.observe.log {
            log.finish();
        }
    }

    fn reopen_log(&self) {
        if let Some(log) = &self.observe.log {
            log.reopen();
            info!("access log is opened anew");
        }
    }
}

/// Access log and metrics as asked for: isthmus.yaml's key, else MeshConfig (10.3).
fn observe(asked: &mut Asked) -> Result<Observe, StartError> {
    let mesh = asked.settings.mesh.clone();
    let told = asked.bootstrap.access_log.as_ref();
    let path = told.map(|log| log.path.clone()).or_else(|| (!mesh.access_log_file.is_empty()).then(|| PathBuf::from(&mesh.access_log_file)));
    let encoding = told.and_then(|log| log.format).unwrap_or(mesh.access_log_encoding);
    let log = match path {
        None => None,
        Some(path) => {
            let format = format(encoding, &mesh.access_log_format, &mut asked.problems);
            let shown = path.display().to_string();
            Some(AccessLog::open(&path, format).map_err(|e| StartError { what: "access log", why: format!("{shown}: {e}") })?)
        }
    };
    Ok(Observe { metrics: Metrics::new(asked.settings.gateway.clone()), traffic: Arc::default(), trials: Trials::default(), log })
}

fn format(encoding: AccessLogEncoding, own: &str, problems: &mut Vec<Problem>) -> Format {
    match (encoding, own) {
        (AccessLogEncoding::Text, "") => Format::istio_text(),
        (AccessLogEncoding::Json, "") => Format::istio_json(),
        (AccessLogEncoding::Text, own) => Format::text(own, problems),
        (AccessLogEncoding::Json, own) => match serde_json::from_str::<std::collections::BTreeMap<String, String>>(own) {
            Ok(fields) => Format::json(fields.iter().map(|(key, value)| (key.clone(), value.as_str())), problems),
            Err(error) => {
                let message = format!("expected a JSON object of texts, found something else ({error}); Istio's own form is in force");
                problems.push(Problem::new(Severity::Warning, "ISM0501", message).at("mesh.accessLogFormat"));
                Format::istio_json()
            }
        },
    }
}
