//! Beginning with API servers: what disk has kept is told first, then each of them is followed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::parse::parse_object;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::kubernetes::{Interner, fact};
use crate::registry::Registry;
use crate::settings::Settings;
use crate::source::kube::{Asked, Common, Door, Resource, Server, kinds, reflect};
use crate::source::members::Members;
use crate::source::{Batch, Event, Partition, RESTORED, SourceId, Status, Via};
use crate::start::WAITING;
use crate::state::Store;

/// How long reading once may take.
const AT_ONCE: Duration = Duration::from_secs(15);
/// The first life of a source.
const FIRST: u64 = 2;

/// Restores what is kept, and follows all API servers until nobody listens to `tell`.
pub(crate) fn start(settings: &Settings, registry: &mut Registry, tell: &Sender<Batch>) -> std::io::Result<()> {
    if settings.servers.is_empty() {
        return Ok(());
    }
    let source = || SourceId(settings.config_cluster.clone(), Via::Server);
    let store = settings.state.as_deref().map(|directory| Store::open(directory, source(), tell.clone())).transpose()?.map(Arc::new);
    let interner = Arc::default();
    let restored = store.as_ref().map(|store| restore(settings, store, registry, &interner)).unwrap_or_default();
    follow(settings, registry, Common { tell: tell.clone(), store, interner }, &restored);
    Ok(())
}

/// Reads all API servers once and changes nothing; of one that cannot be read in time, what disk has kept is there.
pub(crate) async fn read(settings: &Settings, registry: &mut Registry) {
    let interner = Arc::default();
    let looked = |directory: &Path| restore(settings, &Store::looking(directory), registry, &interner);
    let restored = settings.state.as_deref().map(looked).unwrap_or_default();
    let (tell, mut batches) = channel(WAITING);
    follow(settings, registry, Common { tell, store: None, interner }, &restored);
    let end = Instant::now() + AT_ONCE;
    let is_read = |registry: &Registry, cluster: &ClusterId| {
        let standing = registry.standing(cluster);
        let answered = matches!(standing.status, Status::Live | Status::Failed(_)) || standing.last_error.is_some();
        answered || !registry.is_server(cluster)
    };
    while !registry.clusters().iter().all(|cluster| is_read(registry, cluster)) {
        let Ok(Some(batch)) = timeout_at(end, batches.recv()).await else { return };
        registry.apply_all(batch);
    }
}

/// Follows all API servers until nobody listens to `tell`.
fn follow(settings: &Settings, registry: &mut Registry, common: Common, restored: &BTreeMap<ClusterId, ObjectRef>) {
    let mut asked = Vec::new();
    for (cluster, access) in &settings.servers {
        let is_config = *cluster == settings.config_cluster;
        let one = Asked { cluster: cluster.clone(), access: access.clone(), is_config, generation: FIRST, patience: settings.remote_timeout };
        registry.apply_all(one.announce());
        asked.push(one);
    }
    let secrets = |generation| Partition { source: SourceId(settings.config_cluster.clone(), Via::Server), kind: Kind::Secret, generation };
    if settings.remote_secrets.is_some() {
        registry.apply(Event::Init(secrets(FIRST)));
    }
    let mut running = Vec::new();
    for asked in &asked {
        running.push(Server::follow(asked, true, &common));
        if let Some(namespace) = settings.remote_secrets.as_deref().filter(|_| asked.is_config) {
            let (configured, patience) = (settings.clusters.clone(), settings.remote_timeout);
            let mut members = Members::new(secrets(FIRST), configured, patience, common.clone(), restored.clone());
            let (door, resource) = (Door::new(asked.cluster.clone(), asked.access.clone()), Resource::remote_secrets(namespace));
            tokio::spawn(async move { reflect(&door, &resource, &mut members).await });
        }
    }
    let ended = common.tell;
    tokio::spawn(async move {
        // Watchers end when this is dropped.
        let _running = running;
        ended.closed().await;
    });
}

/// Tells what disk has kept of each cluster, and returns the members among them.
fn restore(settings: &Settings, store: &Store, registry: &mut Registry, interner: &Mutex<Interner>) -> BTreeMap<ClusterId, ObjectRef> {
    let mut members = store.members();
    members.retain(|cluster, _| settings.remote_secrets.is_some() && !settings.clusters.contains(cluster));
    for (cluster, secret) in settings.servers.keys().map(|c| (c, None)).chain(members.iter().map(|(c, s)| (c, Some(s)))) {
        let is_config = *cluster == settings.config_cluster;
        let Some(kept) = store.restore(cluster, kinds(is_config)) else { continue };
        if let Some(secret) = secret {
            registry.apply(Event::Joined(cluster.clone(), format!("{}/{}", secret.namespace, secret.name).into()));
        }
        let objects: usize = kept.iter().map(|(_, objects)| objects.len()).sum();
        warn!(%cluster, objects, "restored from disk, in force until its API server answers");
        let partition = |kind| Partition { source: SourceId(cluster.clone(), Via::Server), kind, generation: RESTORED };
        let mut batch = Batch::new();
        let mut listed: Vec<Kind> = kept.iter().map(|(kind, _)| *kind).collect();
        for (kind, objects) in kept {
            batch.push(Event::Init(partition(kind)));
            for (api_version, json) in objects {
                let parsed = parse_object(&json, &api_version, kind.as_str(), cluster);
                let told = parsed.documents.into_iter().next();
                let told = told.and_then(|document| fact(document, &mut interner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)));
                batch.extend(told.map(|fact| Event::Apply(partition(kind), fact)));
            }
        }
        if is_config && settings.remote_secrets.is_some() {
            batch.push(Event::Init(partition(Kind::Secret)));
            listed.push(Kind::Secret);
        }
        batch.extend(listed.iter().map(|kind| Event::InitDone(partition(*kind))));
        let reason = "restored from disk, its API server has not answered yet";
        batch.extend(listed.iter().map(|kind| Event::Lost(partition(*kind), reason.to_owned())));
        registry.apply_all(batch);
    }
    members
}
