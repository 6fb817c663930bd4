//! The control thread: waits for events, holds off, applies, compiles, publishes, reports. One writer of everything.
//!
//! It runs on a runtime of its own, so neither compiling nor freeing an old world ever takes a worker's time. After the
//! first event it holds off 10 ms for more of them, 25 ms at the most, so a burst is one compilation and a trickle is not
//! delayed for ever. Views are published before the snapshot, so a route never shows a backend that knows no endpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_config::name::ClusterId;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::analyze::analyze;
use isthmus_core::balance::outlier::Ejection;
use isthmus_core::compile::{Compiler, Counters};
use isthmus_core::model::World;
use isthmus_core::snapshot::{ListenKey, Pin};
use isthmus_discovery::{Batch, Registry, Status};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::{Instant as Timer, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use crate::admin::{Ask, Now, Questions, Readiness};
use crate::listener::{Listeners, State};
use crate::observe::Observe;
use crate::progress::Progress;
use crate::proxy::Engine;
use crate::sources;
use crate::ward::Ward;
use crate::warming::Warming;

/// How long quiet lasts before a compilation.
const HOLD_OFF: Duration = Duration::from_millis(10);
/// How long a compilation can be put off by more events.
const CEILING: Duration = Duration::from_millis(25);
/// How long nothing must have changed before what is in force is analysed, which costs more than a change may take.
const CALM: Duration = Duration::from_secs(1);
/// How often counts of what is gone are forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// So many services are joined and compiled at once where a cluster came or went.
const PIECE: usize = 256;
/// How often old worlds are freed, problems counted and readiness judged, off the way of a change.
const LOOK: Duration = Duration::from_millis(50);

/// What the loop works on.
pub(crate) struct Reconcile {
    /// Facts.
    pub(crate) registry: Registry,
    /// Where facts come from.
    pub(crate) batches: Receiver<Batch>,
    /// What is compiled.
    pub(crate) compiler: Compiler,
    /// Who holds the workers' handles.
    pub(crate) engine: Arc<Engine>,
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
    /// The cluster that must be listed before anything is in force.
    pub(crate) config_cluster: ClusterId,
    /// Problems of isthmus.yaml and MeshConfig.
    pub(crate) asked: Vec<Problem>,
    /// Members that are not listed by then are not waited for.
    pub(crate) patience: Instant,
    /// What analysis found when it last had time.
    pub(crate) findings: Vec<Problem>,
    /// Handles of worlds before this one, held until no request does, so that no worker ever frees a world.
    pub(crate) retired: Vec<Arc<Pin>>,
    /// Endpoints that workers have ejected.
    pub(crate) ejections: UnboundedReceiver<Ejection>,
    /// Where those wait.
    pub(crate) ward: Ward,
    /// Where new endpoints warm up.
    pub(crate) warming: Warming,
}

impl Reconcile {
    /// Runs as long as the gateway does.
    pub(crate) async fn run(mut self) {
        // What disk has kept is in force before any source says a word.
        let mut world = self.publish(Instant::now());
        let (mut look, mut forget, mut unread) = (Timer::now(), Timer::now() + FORGET, true);
        let (mut analysis, mut told) = (None, true);
        loop {
            let due = self.due().map_or(look, |due| look.min(due));
            // What a cluster that came or went concerns is told in pieces, and between them what else comes in.
            let behind = self.registry.is_behind() && self.compiler.snapshot().is_some();
            tokio::select! {
                batch = self.batches.recv(), if told => {
                    let Some(batch) = batch else {
                        error!("every source has ended, what is in force stays");
                        told = false;
                        continue;
                    };
                    let since = Instant::now();
                    self.registry.apply_all(batch);
                    self.hold_off(since).await;
                    world = self.publish(since);
                    unread = true;
                    analysis = Some(Timer::now() + CALM);
                }
                Some(ask) = self.questions.recv() => self.answer(ask, &world),
                Some(ejection) = self.ejections.recv() => {
                    self.ward.admit(&ejection, Instant::now());
                    self.engine.upstream.leave(&ejection.slot, &ejection.member.state);
                }
                () = std::future::ready(()), if behind => {
                    world = self.publish(Instant::now());
                    (unread, analysis) = (true, Some(Timer::now() + CALM));
                }
                () = sleep_until(due) => {
                    self.ward.round(Instant::now());
                    self.warming.round(Instant::now());
                }
            }
            if Timer::now() >= look {
                look = Timer::now() + LOOK;
                self.retired.retain(|pin| Arc::strong_count(pin) > 1);
                if analysis.is_some_and(|due| due <= look) && self.compiler.snapshot().is_some() {
                    analysis = None;
                    self.findings = analyze(&world, &self.compiler, Severity::Error).problems;
                    unread = true;
                }
                if std::mem::take(&mut unread) {
                    self.note_problems();
                }
                self.report_readiness();
                if forget <= look {
                    forget = look + FORGET;
                    self.observe.forget(Instant::now());
                    self.engine.upstream.only(&self.compiler.slots());
                }
            }
        }
    }

    /// When an endpoint's standing changes by the passing of time alone.
    fn due(&self) -> Option<Timer> {
        [self.ward.due(), self.warming.due()].into_iter().flatten().min().map(Timer::from_std)
    }

    fn answer(&self, ask: Ask, world: &Arc<World>) {
        match ask {
            Ask::Now(reply) => drop(reply.send(self.now(world))),
            Ask::Analysed(reply) => drop(reply.send(self.now(world).analysed(world, &self.compiler, Severity::Error))),
            Ask::Present(reply) => drop(reply.send((self.compiler.snapshot().cloned().unwrap_or_default(), self.ward.stays()))),
            Ask::Sources(reply) => drop(reply.send(sources::gather(&self.registry))),
            // It holds up a change for as long as the copy takes, which is less than reading everything anew would cost elsewhere.
            Ask::Known(reply) => drop(reply.send(self.registry.clone())),
            Ask::Slots(reply) => drop(reply.send(self.compiler.slots())),
        }
    }

    fn now(&self, world: &World) -> Now {
        let now = Now::of(world, &self.compiler, &self.registry, self.asked.clone(), self.sockets());
        Now { stays: self.ward.stays(), ..now }
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
        let first = self.compiler.snapshot().is_none();
        let (world, changes) = if first { self.registry.world() } else { self.registry.world_so_far(PIECE) };
        if first && !self.config_is_listed() || changes.is_empty() && !first {
            return world;
        }
        let begun = Instant::now();
        self.observe.metrics.look_at(&world);
        let plan = self.compiler.compile(&world, &changes);
        let compiled = begun.elapsed();
        plan.publish_views();
        plan.views.iter().for_each(|(slot, _)| self.engine.upstream.adjust(slot));
        self.ward.round(Instant::now());
        self.warming.admit(&plan.warming, Instant::now());
        if let Some(snapshot) = &plan.snapshot {
            self.retired.extend(self.engine.published.publish(snapshot));
            self.listeners.reconcile(snapshot);
            self.progress.snapshot(snapshot.generation);
        }
        self.progress.propagated(since.elapsed());
        let Counters { listeners_run, vhosts_run, fragments_run, backends_run, bound_run: _ } = plan.counters;
        debug!(?compiled, total = ?since.elapsed(), listeners_run, vhosts_run, fragments_run, backends_run, "in force");
        if plan.snapshot.is_some() {
            let snapshot = self.compiler.snapshot().map_or(0, |s| s.generation);
            info!(snapshot, services = world.catalog.services.len(), took = ?since.elapsed(), "routes in force");
        }
        self.report_readiness();
        world
    }

    /// Counts problems, and logs those that are new.
    fn note_problems(&self) {
        let registry = self.registry.problems();
        let all: Vec<&Problem> = self.asked.iter().chain(&registry).chain(&self.compiler.report().problems).chain(&self.findings).collect();
        for problem in self.progress.problems(&all) {
            let place = crate::cli::place(&problem);
            let object = problem.object.as_ref().map(ToString::to_string).unwrap_or_default();
            match problem.severity {
                Severity::Error => error!(code = problem.code, place, object, path = problem.path, hint = problem.hint, "{}", problem.message),
                Severity::Warning => warn!(code = problem.code, place, object, path = problem.path, hint = problem.hint, "{}", problem.message),
                Severity::Info => debug!(code = problem.code, place, object, path = problem.path, hint = problem.hint, "{}", problem.message),
            }
        }
    }

    fn config_is_listed(&self) -> bool {
        self.compiler.snapshot().is_some() || self.registry.is_listed(&self.config_cluster)
    }

    fn sockets(&self) -> Vec<(ListenKey, String)> {
        let text = |state| match state {
            State::Bound(address) => format!("bound {address}"),
            State::Refused { reason, .. } => format!("refused: {reason}"),
            State::Draining(_) => "draining".to_owned(),
        };
        self.listeners.status().into_iter().map(|status| (status.key, text(status.state))).collect()
    }

    /// Says what readiness waits for (design 7). Every wanted socket is Bound or Refused once a snapshot is in force, since
    /// reconciling binds before it returns.
    fn report_readiness(&self) {
        let mut waiting = Vec::new();
        let patient = Instant::now() < self.patience;
        for cluster in self.registry.clusters() {
            match self.registry.status(cluster) {
                Status::Live | Status::Stale { .. } => {}
                Status::Syncing if patient || !self.config_is_listed() => waiting.push(format!("cluster {cluster} to be listed")),
                Status::Failed(reason) if !self.config_is_listed() => waiting.push(format!("cluster {cluster}: {reason}")),
                Status::Syncing | Status::Failed(_) => {}
            }
        }
        if patient && self.registry.is_behind() {
            waiting.push("services of a cluster to be joined".to_owned());
        }
        if self.compiler.snapshot().is_none() {
            waiting.push("the first snapshot".to_owned());
        }
        self.progress.sockets(self.listeners.status().into_iter().map(|status| match status.state {
            State::Bound(_) => "bound",
            State::Refused { .. } => "refused",
            State::Draining(_) => "draining",
        }));
        self.ready.note(sources::notes(&self.registry));
        let is_ready = waiting.is_empty();
        if self.ready.wait_for(waiting) && is_ready {
            info!("ready");
        }
    }
}
