//! Discovery as a gateway runs it, against real API servers: what it knows, waited for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::name::Hostname;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::model::World;
use isthmus_discovery::{Batch, Registry, Settings, Status, start};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What discovery makes of the clusters that an isthmus.yaml names, without a gateway.
#[derive(Debug)]
pub struct View {
    runtime: Runtime,
    /// What is known.
    pub registry: Registry,
    batches: Receiver<Batch>,
    /// What it amounts to.
    pub world: Arc<World>,
}

impl View {
    /// Starts to follow the clusters of an isthmus.yaml.
    pub fn of(settings: &str) -> Self {
        let (bootstrap, _) = Bootstrap::parse(settings, Path::new("/isthmus.yaml")).expect("settings");
        let (settings, _) = Settings::load(&bootstrap).expect("settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (mut registry, batches) = runtime.block_on(async { start(settings) }).expect("a start");
        let world = registry.world().0;
        Self { runtime, registry, batches, world }
    }

    /// Takes in what comes until `holds`.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let batches = &mut self.batches;
            let batch = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, batches.recv()).await });
            let told: Vec<String> = self.registry.problems().into_iter().map(|p| p.message).collect();
            let statuses: Vec<_> = self.registry.statuses().map(|(s, k, status)| format!("{s} {k} {status:?}")).collect();
            assert!(batch.is_ok() && begun.elapsed() < PATIENCE, "waited in vain until {what}: {told:?} {statuses:?} {:?}", self.hosts());
            self.registry.apply_all(batch.ok().flatten().expect("sources go on"));
            self.world = self.registry.world().0;
        }
    }

    /// Takes in what comes in this time, while `holds` does.
    pub fn stays(&mut self, what: &str, span: Duration, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            let batches = &mut self.batches;
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(batch) = self.runtime.block_on(async { tokio::time::timeout(left, batches.recv()).await }) {
                self.registry.apply_all(batch.expect("sources go on"));
                self.world = self.registry.world().0;
            }
            assert!(holds(self), "{what}: {:?}", self.hosts());
        }
    }

    /// Waits until every cluster is listed.
    pub fn settle(&mut self) {
        self.until("every cluster is listed", |v| v.registry.clusters().iter().all(|c| v.registry.status(c) == Status::Live));
    }

    /// The services that the world shows.
    pub fn hosts(&self) -> Vec<String> {
        self.world.catalog.services.keys().map(|h| h.as_str().to_owned()).collect()
    }

    /// `cluster address` of every endpoint of a service.
    pub fn endpoints(&self, namespace: &str, name: &str) -> BTreeSet<String> {
        let host = Hostname::new(&format!("{name}.{namespace}.svc.cluster.local"));
        let all = self.world.catalog.endpoints.get(&host).into_iter().flat_map(|list| list.iter());
        let address = |text: String| text.rsplit_once(':').map_or(text.clone(), |(ip, _)| ip.to_owned());
        all.map(|e| format!("{} {}", e.workload.cluster(), address(e.address.to_string()))).collect()
    }

    /// Whether exactly these are the endpoints of a service, as `cluster address`.
    pub fn has(&self, namespace: &str, name: &str, want: &[&str]) -> bool {
        self.endpoints(namespace, name) == want.iter().map(|w| (*w).to_owned()).collect()
    }

    /// How far a cluster is.
    pub fn status(&self, cluster: &str) -> Status {
        self.registry.status(&cluster.into())
    }

    /// Errors and warnings of objects of this namespace, and of none.
    pub fn problems(&self, namespace: &str) -> Vec<String> {
        let of = |p: &Problem| p.object.as_ref().is_none_or(|o| *o.namespace == *namespace);
        self.registry.problems().into_iter().filter(|p| p.severity < Severity::Info && of(p)).map(|p| p.message).collect()
    }
}
