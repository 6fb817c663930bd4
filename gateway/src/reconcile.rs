//! The control thread: waits for events, holds off, applies, compiles, publishes, reports. One writer of everything.
//!
//! It runs on a runtime of its own, so neither compiling nor freeing an old world ever takes a worker's time. After the
//! first event it holds off 10 ms for more of them, 25 ms at the most, so a burst is one compilation and a trickle is not
//! delayed for ever. Views are published before the snapshot, so a route never shows a backend that knows no endpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_config::problem::{Problem, Severity};
use isthmus_core::compile::{Compiler, Counters};
use isthmus_core::model::World;
use isthmus_core::snapshot::ListenKey;
use isthmus_discovery::{Batch, Registry, Status};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant as Timer, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use crate::admin::{Now, Questions, Readiness};
use crate::listener::{Listeners, State};
use crate::observe::Observe;
use crate::progress::Progress;
use crate::proxy::Published;

/// How long quiet lasts before a compilation.
const HOLD_OFF: Duration = Duration::from_millis(10);
/// How long a compilation can be put off by more events.
const CEILING: Duration = Duration::from_millis(25);
/// How often sockets are looked at until all are bound, and how often freed worlds are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What the loop works on.
pub(crate) struct Reconcile {
    /// Facts.
    pub(crate) registry: Registry,
    /// Where facts come from.
    pub(crate) batches: Receiver<Batch>,
    /// What is compiled.
    pub(crate) compiler: Compiler,
    /// Workers' handles.
    pub(crate) published: Arc<Published>,
    /// Sockets.
    pub(crate) listeners: Arc<Listeners>,
    /// Whether we are ready.
    pub(crate) ready: Arc<Readiness>,
    /// Who is told which services exist.
    pub(crate) observe: Arc<Observe>,
    /// What a scrape tells of the loop.
    pub(crate) progress: Arc<Progress>,
    /// Who asks what is in force.
    pub(crate) questions: Questions,
    /// Problems of isthmus.yaml and MeshConfig.
    pub(crate) asked: Vec<Problem>,
    /// Members that are not listed by then are not waited for.
    pub(crate) patience: Instant,
}

impl Reconcile {
    /// Runs as long as the gateway does.
    pub(crate) async fn run(mut self) {
        let mut world = self.registry.world().0;
        let mut look = Timer::now();
        loop {
            tokio::select! {
                batch = self.batches.recv() => {
                    let Some(batch) = batch else {
                        error!("every source has ended, what is in force stays");
                        return std::future::pending().await;
                    };
                    let since = Instant::now();
                    self.registry.apply_all(batch);
                    self.hold_off(since).await;
                    world = self.publish(since);
                }
                Some(reply) = self.questions.recv() => {
                    let now = Now::of(world.clone(), &self.compiler, &self.registry, self.asked.clone(), self.sockets());
                    // Whoever asked may have gone away.
                    drop(reply.send(now));
                }
                () = sleep_until(look) => {}
            }
            if Timer::now() >= look {
                look = Timer::now() + LOOK;
                self.report_readiness();
            }
        }
    }

    /// Takes in what follows closely.
    async fn hold_off(&mut self, since: Instant) {
        let ceiling = Timer::from_std(since) + CEILING;
        loop {
            let quiet = (Timer::now() + HOLD_OFF).min(ceiling);
            match timeout_at(quiet, self.batches.recv()).await {
                Ok(Some(batch)) => self.registry.apply_all(batch),
                Ok(None) | Err(_) => return,
            }
            if Timer::now() >= ceiling {
                return;
            }
        }
    }

    /// Compiles what changed and puts it in force.
    fn publish(&mut self, since: Instant) -> Arc<World> {
        let (world, changes) = self.registry.world();
        let first = self.compiler.snapshot().is_none();
        if changes.is_empty() && (!first || !self.config_is_listed()) {
            self.note_problems();
            return world;
        }
        let begun = Instant::now();
        self.observe.metrics.look_at(&world);
        let plan = self.compiler.compile(&world, &changes);
        let compiled = begun.elapsed();
        plan.publish_views();
        if let Some(snapshot) = &plan.snapshot {
            let old = self.published.publish(snapshot);
            self.listeners.reconcile(snapshot);
            self.progress.snapshot(snapshot.generation);
            // The old world is freed here unless a request still holds it.
            drop(old);
        }
        self.progress.propagated(since.elapsed());
        self.note_problems();
        let Counters { listeners_run, vhosts_run, fragments_run, backends_run, bound_run: _ } = plan.counters;
        debug!(?compiled, total = ?since.elapsed(), listeners_run, vhosts_run, fragments_run, backends_run, "in force");
        if plan.snapshot.is_some() {
            let snapshot = self.compiler.snapshot().map_or(0, |s| s.generation);
            info!(snapshot, services = world.catalog.services.len(), problems = self.progress.problem_count(), "routes in force");
        }
        self.report_readiness();
        world
    }

    /// Counts problems, and logs those that are new.
    fn note_problems(&mut self) {
        let registry = self.registry.problems();
        let all: Vec<&Problem> = self.asked.iter().chain(&registry).chain(&self.compiler.report().problems).collect();
        for problem in self.progress.problems(&all) {
            let place = crate::cli::place(&problem);
            let object = problem.object.as_ref().map(ToString::to_string).unwrap_or_default();
            match problem.severity {
                Severity::Error => error!(code = problem.code, place, object, path = problem.path, "{}", problem.message),
                Severity::Warning => warn!(code = problem.code, place, object, path = problem.path, "{}", problem.message),
                Severity::Info => debug!(code = problem.code, place, object, path = problem.path, "{}", problem.message),
            }
        }
    }

    fn config_is_listed(&self) -> bool {
        self.registry.is_listed()
    }

    fn sockets(&self) -> Vec<(ListenKey, String)> {
        self.listeners.states().into_iter().map(|(key, state)| (key, state.to_string())).collect()
    }

    /// Says what readiness waits for (design 7).
    fn report_readiness(&self) {
        let mut waiting = Vec::new();
        let patient = Instant::now() < self.patience;
        for cluster in self.registry.clusters() {
            if self.registry.status(cluster) == Status::Syncing && (patient || !self.config_is_listed()) {
                waiting.push(format!("cluster {cluster} to be listed"));
            }
        }
        if self.compiler.snapshot().is_none() {
            waiting.push("the first snapshot".to_owned());
        }
        let states = self.listeners.states();
        for (key, state) in &states {
            if let State::Wanted = state {
                waiting.push(format!("listener {key} to be bound"));
            }
        }
        self.progress.sockets(states.iter().map(|(_, state)| state.name()));
        let is_ready = waiting.is_empty();
        if self.ready.wait_for(waiting) && is_ready {
            info!("ready");
        }
    }
}
