//! Everything that is in force at one moment, for whoever looks at it: the admin port, the command line, a scrape.
//!
//! Made on demand, by the control thread of a running gateway or from files, so publishing costs nothing for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use isthmus_config::istio::DestinationRule;
use isthmus_config::name::Locality;
use isthmus_config::object::{Labels, Object};
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::analyze::{InForce, analyze};
use isthmus_core::balance::across::{Unreachable, unreachable};
use isthmus_core::balance::setting::Stand;
use isthmus_core::balance::{BackendKey, Slot, View};
use isthmus_core::compile::Compiler;
use isthmus_core::explain::{Explanation, Question, explain};
use isthmus_core::join::Door;
use isthmus_core::model::{Changes, Endpoint, Port, Service, World};
use isthmus_core::snapshot::{ListenKey, Snapshot};
use isthmus_core::whatif::{By, Down, Matrix, Whatif, localities, whatif};
use isthmus_discovery::{Entry, Registry, Status, offline};

use super::rows::ClusterRow;
use crate::asked::Asked;
use crate::observe::utc;
use crate::sources;
use crate::ward::Stays;

/// What is in force.
#[derive(Debug)]
pub(crate) struct Now {
    /// The routes.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What routes could send to, by key.
    pub(crate) backends: Vec<Backend>,
    /// The Kubernetes clusters.
    pub(crate) clusters: Vec<ClusterRow>,
    /// Everything wrong, errors first.
    pub(crate) problems: Vec<Problem>,
    /// Where each Istio object is in force, or why nowhere.
    pub(crate) in_force: Vec<InForce>,
    /// What was read of each cluster; none of what a gateway has in force.
    pub(crate) read: Vec<String>,
    /// WorkloadEntries that fail their probe: why, and since when.
    pub(crate) failing: BTreeMap<Entry, String>,
    /// How sockets are reached from outside our cluster.
    pub(crate) doors: Vec<Door>,
    /// Sockets and their states; none where nothing runs.
    pub(crate) sockets: Vec<(ListenKey, String)>,
    /// Ejections; none where nothing runs.
    pub(crate) stays: Stays,
}

/// A service's port, or a subset of it.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Its key.
    pub(crate) key: BackendKey,
    /// The service.
    pub(crate) service: Arc<Service>,
    /// Its slot, where a route sends to it.
    pub(crate) slot: Option<Arc<Slot>>,
    /// DestinationRules whose text is in force for it, `name.namespace`.
    pub(crate) rules: Vec<String>,
    /// Its endpoints, in line; those of its slot, or those that it would have.
    pub(crate) view: Arc<View>,
    /// Its endpoints of other networks that nothing leads to, and why.
    pub(crate) left_out: Vec<(Arc<Endpoint>, Unreachable)>,
}

impl Now {
    /// Takes stock, without analysis, which costs more than the rest.
    pub(crate) fn of(world: &World, compiler: &Compiler, registry: &Registry, mut problems: Vec<Problem>, sockets: Vec<(ListenKey, String)>) -> Self {
        problems.extend(registry.problems());
        problems.extend(compiler.report().problems.iter().cloned());
        sort(&mut problems);
        let clusters = registry.clusters().iter().map(|id| cluster(registry, world, id)).collect();
        let backends = backends(world, compiler);
        let snapshot = compiler.snapshot().cloned().unwrap_or_default();
        let failing = registry.probed().filter_map(|(entry, probed)| {
            let reason = probed.verdict.failure.as_ref()?;
            let since = utc(SystemTime::now() - probed.verdict.since.elapsed());
            Some((entry.clone(), format!("failed since {since}: {reason}")))
        });
        Self {
            snapshot,
            backends,
            clusters,
            problems,
            in_force: Vec::new(),
            failing: failing.collect(),
            read: Vec::new(),
            doors: registry.doors(),
            sockets,
            stays: Stays::default(),
        }
    }
    /// Adds what analysis finds; `missing` is how much a reference that leads nowhere matters.
    pub(crate) fn analysed(mut self, world: &World, compiler: &Compiler, missing: Severity) -> Self {
        let analysis = analyze(world, compiler, missing).with_refused(&self.problems);
        self.problems.extend(analysis.problems);
        sort(&mut self.problems);
        self.in_force = analysis.in_force;
        self
    }
    /// Compiles what files and API servers have now, `overlay` lying over the config cluster's. `missing` is how much a reference that leads nowhere
    /// matters.
    pub(crate) fn offline(asked: &Asked, overlay: Vec<PathBuf>, missing: Severity) -> Self {
        Self::supposed(offline(asked.settings.clone(), overlay), &asked.problems, missing)
    }
    /// Compiles what a registry knows, from nothing. `problems` are those of isthmus.yaml.
    pub(crate) fn supposed(mut registry: Registry, problems: &[Problem], missing: Severity) -> Self {
        let (world, _) = registry.world();
        let mut compiler = Compiler::new(0);
        compiler.compile(&world, &Changes::everything()).publish_views();
        let now = Self::of(&world, &compiler, &registry, problems.to_vec(), Vec::new()).analysed(&world, &compiler, missing);
        Self { read: sources::read(&registry), ..now }
    }
    /// Where the traffic of each backend goes whose name holds `name`, by where a gateway stands.
    pub(crate) fn matrices(&self, name: &str, by: By) -> Vec<Matrix> {
        let from = localities(self.backends.iter().flat_map(|b| b.view.members.iter().map(|m| &*m.endpoint)));
        let named = self.backends.iter().filter(|b| b.key.to_string().contains(name));
        named.map(|b| Matrix::of(&b.key, &b.view, &from, by)).collect()
    }
    /// Supposes that something is down.
    pub(crate) fn whatif(&self, down: &[Down], from: Option<&Locality>) -> Whatif {
        whatif(&self.snapshot, down, from)
    }
    /// Tells how one request is decided.
    pub(crate) fn explain(&self, question: &Question) -> Explanation {
        explain(&self.snapshot, question, &|state| self.stays.of(state), Instant::now())
    }
}

/// Errors first, then by object and place; each once.
pub(crate) fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| {
        let key = |p: &Problem| (p.severity, p.object.clone(), p.origin.file.clone(), p.origin.cluster.clone(), p.origin.spot(&p.path), p.code);
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
    problems.dedup();
}

fn cluster(registry: &Registry, world: &World, id: &isthmus_config::name::ClusterId) -> ClusterRow {
    let endpoints = world.catalog.endpoints.values().flat_map(|list| list.iter()).filter(|e| e.workload.cluster() == id).count();
    let standing = registry.standing(id);
    let status = name_of(&standing.status).to_owned();
    let (reason, age) = match standing.status {
        Status::Live | Status::Syncing => (String::new(), None),
        Status::Stale { since, reason } => (reason, Some(since.elapsed().as_secs())),
        Status::Failed(reason) => (reason, None),
    };
    let last_error = standing.last_error.map(|(when, reason)| format!("{} {reason}", utc(SystemTime::now() - when.elapsed())));
    let own = if *id == world.gateway.cluster { "local" } else { "-" };
    ClusterRow {
        name: id.to_string(),
        secret: registry.secret(id).unwrap_or("-").to_owned(),
        status,
        istiod: format!("{}.{}", world.gateway.name, world.gateway.namespace),
        revision: own.to_owned(),
        endpoints,
        reason,
        age,
        from_disk: standing.from_disk,
        last_error: last_error.unwrap_or_default(),
    }
}

/// How far a cluster is, in one word.
pub(crate) fn name_of(status: &Status) -> &'static str {
    match status {
        Status::Live => "synced",
        Status::Syncing => "syncing",
        Status::Stale { .. } => "stale",
        Status::Failed(_) => "failed",
    }
}

/// Every port and subset that the gateway may see, TCP and HTTP (3.7: not only those that routes name).
fn backends(world: &World, compiler: &Compiler) -> Vec<Backend> {
    let slots: std::collections::HashMap<Arc<BackendKey>, Arc<Slot>> = compiler.slots().into_iter().map(|s| (s.key.clone(), s)).collect();
    let stand = Arc::new(Stand::of(&world.gateway));
    let mut backends = Vec::new();
    for service in world.catalog.services.values().filter(|s| s.export_to.includes(&world.gateway.namespace)) {
        let rule = compiler.rules().find(world, service);
        let subsets = rule.iter().flat_map(|rule| rule.subsets()).map(|subset| subset.name.as_str());
        let mut subsets: Vec<&str> = std::iter::once("").chain(subsets).collect();
        subsets.sort_unstable();
        for port in service.ports.iter().filter(|p| p.protocol != isthmus_core::model::Protocol::Udp) {
            for subset in &subsets {
                let key = BackendKey { host: service.hostname.clone(), port: port.number, subset: (*subset).into() };
                let slot = slots.get(&key).cloned();
                let supposed = || compiler.supposed(world, service, rule.as_ref(), &stand, (port.number, subset)).map(Arc::new);
                let Some(view) = slot.as_ref().map(|s| s.view.load_full()).or_else(supposed) else { continue };
                let labels = rule.as_deref().and_then(|rule| rule.subset(subset)).map(|subset| &subset.labels);
                let left_out = left_out(world, service, port, labels);
                let mut rules: Vec<String> = rule.iter().flat_map(|rule| rule.contributors(subset)).map(named).collect();
                // One that only declares subsets is shown at the whole service, too, as istioctl does.
                rules.extend(rule.iter().flat_map(|rule| &rule.sources).map(named).take(usize::from(rules.is_empty())));
                rules.dedup();
                backends.push(Backend { key, service: service.clone(), slot, rules, view, left_out });
            }
        }
    }
    // By name, as istioctl, not by specificity.
    backends.sort_by(|a, b| (a.key.host.as_str(), a.key.port, &a.key.subset).cmp(&(b.key.host.as_str(), b.key.port, &b.key.subset)));
    backends
}

fn named(rule: &Arc<Object<DestinationRule>>) -> String {
    format!("{}.{}", rule.meta.name, rule.meta.namespace)
}

/// The endpoints of a port that carry a subset's labels and that nothing leads to.
fn left_out(world: &World, service: &Service, port: &Port, labels: Option<&Labels>) -> Vec<(Arc<Endpoint>, Unreachable)> {
    let endpoints = world.catalog.endpoints.get(&service.hostname).into_iter().flat_map(|list| list.iter());
    let chosen = endpoints.filter(|e| e.port_name == port.name && labels.is_none_or(|want| e.workload.carries(want)));
    chosen.filter_map(|e| Some((e.clone(), unreachable(e, service.kind, world.gateway.mutual_tls)?))).collect()
}
