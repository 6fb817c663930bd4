//! The one owner of the last good version of every object.
//!
//! It takes events, remembers what they touch, and on [`Registry::world`] joins again only the host names that were
//! touched: a slice touches its own service, a pod or node the services whose slices name it, a ServiceEntry its hosts.
//! A cluster is not part of the world before each of its partitions has been listed once. An object that the
//! admission rules refuse leaves its last good version in force; the refusal is a problem until the object is mended.

mod clusters;
mod copies;
mod documents;
mod followed;
mod known;
mod lists;
mod namespaces;
mod networks;
mod ourselves;
mod overlap;
mod place;
mod probing;
mod problems;
mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::ServiceEntry;
use isthmus_config::name::{ClusterId, Hostname};
use isthmus_config::object::{Kind, Object, ObjectRef};
use isthmus_config::problem::Problem;
use isthmus_core::join::gateways::{Found, Networks};
use isthmus_core::join::{self, Cluster, Facts, Mesh};
use isthmus_core::model::{Catalog, Changes, Documents, GatewayIdentity, NamespacedName, World};
use tokio::sync::watch;
use tracing::info;

use crate::probe::{Entry, Targets};
use crate::settings::Settings;
use crate::source::{Event, SourceId, Status};

use copies::Copies;
use followed::Followed;
use lists::PartitionState;
use overlap::Overlap;
use place::place;
pub use probing::Probed;
use standing::Past;
pub use standing::{SecretEvents, Standing};

/// The names that DNS has to find.
pub type Names = Arc<BTreeSet<Arc<str>>>;

/// All facts, and the world made of them. A copy goes on from here by itself; it shares what is large, and still costs as much as a list
/// of all that is known.
#[derive(Clone, Debug)]
pub struct Registry {
    settings: Settings,
    /// Who we are by isthmus.yaml alone.
    asked: Arc<GatewayIdentity>,
    mesh: Mesh,
    /// Clusters that have been listed, the config cluster first, then as configured (M-1).
    clusters: Vec<Cluster>,
    /// Clusters whose first list is under way.
    waiting: BTreeMap<ClusterId, Cluster>,
    partitions: BTreeMap<(SourceId, Kind), PartitionState>,
    overlap: Overlap,
    copies: Copies,
    past: BTreeMap<ClusterId, Past>,
    secret_events: SecretEvents,
    /// The remote secrets of members.
    secrets: BTreeMap<ClusterId, Arc<str>>,
    entries_by_host: HashMap<Hostname, Vec<Arc<Object<ServiceEntry>>>>,
    /// ServiceEntries with a workloadSelector, by namespace.
    selecting: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    answers: HashMap<Arc<str>, Arc<[IpAddr]>>,
    names_by_host: BTreeMap<Hostname, BTreeSet<Arc<str>>>,
    names: Followed<Names>,
    /// Entries to probe, and what was found of them.
    targets: Followed<Targets>,
    verdicts: BTreeMap<Entry, Probed>,
    /// What clusters say of gateways between networks, and what that means to our own.
    gateways: Found,
    gateway_answers: HashMap<Arc<str>, Arc<[IpAddr]>>,
    networks: Networks,
    /// What clusters disagree on, by host.
    conflicts: BTreeMap<Hostname, Vec<Problem>>,
    /// Gateways may differ from what is known of them.
    gateways_touched: bool,
    file_problems: BTreeMap<(SourceId, Arc<str>), Vec<Problem>>,
    object_problems: BTreeMap<(SourceId, ObjectRef), Vec<Problem>>,
    dirty: BTreeSet<Hostname>,
    /// Hosts that are joined again in pieces, since there may be thousands: a cluster came or went.
    backlog: BTreeSet<Hostname>,
    changes: Changes,
    world: Arc<World>,
}

impl Registry {
    /// A registry that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let mesh = settings.joining();
        let world = World {
            generation: 0,
            catalog: Catalog::default(),
            documents: Arc::new(Documents::default()),
            mesh: settings.mesh.clone(),
            gateway: settings.gateway.clone(),
        };
        let waiting = settings.clusters.iter().map(|id| (id.clone(), Cluster::new(id.clone()))).collect();
        let overlap = Overlap::new(&settings);
        let told_of_mesh = settings.mesh_source().map(|source| (source, settings.mesh_warnings.clone())).filter(|(_, told)| !told.is_empty());
        Self {
            asked: settings.gateway.clone(),
            settings,
            mesh,
            clusters: Vec::new(),
            waiting,
            partitions: BTreeMap::new(),
            overlap,
            copies: Copies::default(),
            past: BTreeMap::new(),
            secret_events: SecretEvents::default(),
            secrets: BTreeMap::new(),
            entries_by_host: HashMap::new(),
            selecting: BTreeMap::new(),
            answers: HashMap::new(),
            names_by_host: BTreeMap::new(),
            names: Followed::default(),
            targets: Followed::default(),
            verdicts: BTreeMap::new(),
            gateways: Found::default(),
            gateway_answers: HashMap::new(),
            networks: Networks::default(),
            conflicts: BTreeMap::new(),
            gateways_touched: true,
            file_problems: told_of_mesh.into_iter().collect(),
            object_problems: BTreeMap::new(),
            dirty: BTreeSet::new(),
            backlog: BTreeSet::new(),
            changes: Changes::everything(),
            world: Arc::new(world),
        }
    }

    /// Takes in events that belong together.
    pub fn apply_all(&mut self, batch: impl IntoIterator<Item = Event>) {
        batch.into_iter().for_each(|event| self.apply(event));
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Init(partition) => self.begin_list(partition),
            Event::Apply(partition, fact) => self.take(&partition, fact),
            Event::Delete(partition, object) => self.delete(&partition, &object),
            Event::Kept(partition, object) => self.keep(&partition, &object),
            Event::InitDone(partition) => self.end_list(&partition),
            Event::Resumed(partition) => self.resume(&partition),
            Event::Lost(partition, reason) => self.lose(&partition, reason),
            Event::Joined(cluster, secret) => self.join(cluster, secret),
            Event::Copy(source, object, document) => self.copies.note(source, object, document, &self.world.documents),
            Event::Removed(source) => self.remove_source(&source),
            Event::Problems(source, file, problems) if problems.is_empty() => {
                self.file_problems.remove(&(source, file));
            }
            Event::Problems(source, file, problems) => {
                self.file_problems.insert((source, file), problems);
            }
            Event::Resolved(name, addresses) => self.resolve(name, addresses),
            Event::Mesh(mesh) => self.take_mesh(mesh),
            Event::Probed(entry, address, verdict) => self.take_verdict(entry, &address, verdict),
        }
    }

    /// The world as it is now, and what differs from the one returned before. Until the config cluster has been listed
    /// nothing is shown of it.
    pub fn world(&mut self) -> (Arc<World>, Changes) {
        self.world_so_far(usize::MAX)
    }

    /// As [`Self::world`], but of what a cluster that came or went concerns only so many hosts, so that no other change waits for thousands
    /// of services. Each service is whole; the rest is told by the next calls, while [`Self::is_behind`].
    pub fn world_so_far(&mut self, most: usize) -> (Arc<World>, Changes) {
        if !self.clusters.iter().any(|c| c.id == self.settings.config_cluster) {
            return (self.world.clone(), Changes::default());
        }
        self.look_at_ourselves();
        let mut renamed = self.find_gateways();
        if self.changes.all {
            self.dirty.append(&mut self.backlog);
        }
        let dirty = std::mem::take(&mut self.dirty);
        let piece: Vec<Hostname> = std::iter::from_fn(|| self.backlog.pop_first()).filter(|host| !dirty.contains(host)).take(most).collect();
        let mut joined = Vec::with_capacity(dirty.len());
        let facts = self.facts();
        for host in dirty.into_iter().chain(piece) {
            let found = join::host(&facts, &host);
            let entries = self.entries_by_host.get(&host).into_iter().flatten();
            let names: BTreeSet<Arc<str>> = entries.flat_map(|e| join::names(&facts, e)).collect();
            let conflicts = join::conflicts(&facts, &host);
            joined.push((host, found, names, conflicts));
        }
        let mut changes = std::mem::take(&mut self.changes);
        if joined.is_empty() && changes.is_empty() && !renamed {
            return (self.world.clone(), changes);
        }
        let world = Arc::make_mut(&mut self.world);
        for (host, found, names, conflicts) in joined {
            if conflicts.is_empty() {
                self.conflicts.remove(&host);
            } else {
                self.conflicts.insert(host.clone(), conflicts);
            }
            renamed |= if names.is_empty() {
                self.names_by_host.remove(&host).is_some()
            } else {
                self.names_by_host.insert(host.clone(), names.clone()).is_none_or(|old| old != names)
            };
            place(&mut world.catalog, host, found, &mut changes);
        }
        if !changes.is_empty() {
            world.generation += 1;
        }
        if renamed {
            let all: BTreeSet<Arc<str>> = self.names_by_host.values().flatten().chain(&self.gateways.names).cloned().collect();
            self.answers.retain(|name, _| all.contains(name));
            self.names.send_replace(Arc::new(all));
        }
        (self.world.clone(), changes)
    }

    /// True while [`Self::world_so_far`] has more to tell.
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty() && self.is_listed(&self.settings.config_cluster)
    }

    /// True when every configured cluster has been listed or cannot be read, the config cluster having been listed.
    pub fn is_settled(&self) -> bool {
        self.clusters.iter().any(|c| c.id == self.settings.config_cluster)
            && self.settings.clusters.iter().all(|id| self.status(id) != Status::Syncing)
    }

    /// True once the world shows a cluster: it has been listed, or was restored from disk.
    pub fn is_listed(&self, cluster: &ClusterId) -> bool {
        self.clusters.iter().any(|c| c.id == *cluster)
    }

    /// The cluster whose Istio objects are read (M-26).
    pub fn config_cluster(&self) -> &ClusterId {
        &self.settings.config_cluster
    }

    /// The clusters, as configured, then members in the order in which they joined.
    pub fn clusters(&self) -> &[ClusterId] {
        &self.settings.clusters
    }

    /// The remote secret that names a cluster, as `namespace/name`.
    pub fn secret(&self, cluster: &ClusterId) -> Option<&str> {
        self.secrets.get(cluster).map(|secret| &**secret)
    }

    /// The names that DNS has to find, told anew when they change.
    pub fn names(&self) -> watch::Receiver<Names> {
        self.names.subscribe()
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            clusters: &self.clusters,
            entries: &self.entries_by_host,
            answers: &self.answers,
            gateway: &self.settings.gateway,
            node: self.settings.node.as_deref(),
            mesh: &self.mesh,
            networks: &self.networks,
        }
    }

    fn join(&mut self, cluster: ClusterId, secret: Arc<str>) {
        self.secrets.insert(cluster.clone(), secret);
        if self.settings.clusters.contains(&cluster) {
            self.secret_events.update += 1;
        } else {
            self.secret_events.add += 1;
            info!(%cluster, "member joined");
            self.waiting.entry(cluster.clone()).or_insert_with(|| Cluster::new(cluster.clone()));
            self.settings.clusters.push(cluster);
        }
    }

    fn remove_source(&mut self, source: &SourceId) {
        info!(%source, "source removed");
        // What another source of the same cluster tells stays.
        let is_last = !self.partitions.keys().any(|(s, _)| s.0 == source.0 && s != source);
        if is_last && source.0 != self.settings.config_cluster {
            // All of it goes at once, and nothing is told object by object.
            self.hide(&source.0);
        }
        let kinds: Vec<Kind> = self.partitions.keys().filter(|(s, _)| s == source).map(|(_, kind)| *kind).collect();
        kinds.into_iter().for_each(|kind| self.end_partition(source, kind));
        self.file_problems.retain(|(s, _), _| s != source);
        self.object_problems.retain(|(s, _), _| s != source);
        self.copies.forget(source);
        if is_last {
            self.hide(&source.0);
            self.settings.clusters.retain(|c| *c != source.0);
            self.past.remove(&source.0);
            self.secret_events.delete += u64::from(self.secrets.remove(&source.0).is_some());
        }
    }

    fn resolve(&mut self, name: Arc<str>, addresses: Arc<[IpAddr]>) {
        self.resolve_gateway(&name, &addresses);
        if self.answers.get(&name) == Some(&addresses) {
            return;
        }
        let hosts = self.names_by_host.iter().filter(|(_, names)| names.contains(&name)).map(|(host, _)| host.clone());
        self.dirty.extend(hosts);
        self.answers.insert(name, addresses);
    }

    /// The config cluster is first, the others stand as configured (M-1).
    fn rank(&self, id: &ClusterId) -> (bool, usize) {
        let place = self.settings.clusters.iter().position(|c| c == id).unwrap_or(usize::MAX);
        (*id != self.settings.config_cluster, place)
    }
}

/// Namespace and name, as the catalog's keys have them.
fn key(object: &ObjectRef) -> NamespacedName {
    (object.namespace.clone(), object.name.clone())
}
