//! A cluster that is an API server: each kind is listed and watched, and told in the language of all sources.
//!
//! What a cluster supplies is Services, EndpointSlices, Pods, Nodes, Namespaces and WorkloadEntries; the config cluster
//! supplies Istio's other kinds beside (M-26). Losing the API server takes nothing away (M-24). Nothing is kept here but
//! positions: objects are trimmed while they are decoded, and the registry holds the only copy.

mod access;
mod certificates;
mod copies;
mod facts;
mod reflect;
mod request;
mod resource;
#[cfg(test)]
mod tests;

pub(crate) use access::{Door, chain};
pub(crate) use reflect::{Take, reflect};
pub(crate) use request::Head;
pub(crate) use resource::{Resource, kinds};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, Origin};
use isthmus_config::problem::{Problem, Severity};
use jiff::Timestamp;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Batch, Event, Partition, SourceId, Via};
use crate::kubernetes::Interner;
use crate::state::Store;
use copies::Copies;
use facts::{Facts, Shared};

pub use access::Access;
pub use resource::reads;

/// Under this name stands what is wrong with a client certificate.
const CERTIFICATE: &str = "client certificate";
/// How often a client certificate is looked at: its file may be renewed, and time goes on.
const MIND: Duration = Duration::from_secs(10);

/// What is asked of one API server.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) cluster: ClusterId,
    pub(crate) access: Access,
    pub(crate) is_config: bool,
    /// Which life of the source this is.
    pub(crate) generation: u64,
    /// How long it may take until it is listed (M-23).
    pub(crate) patience: Duration,
}

impl Asked {
    fn source(&self) -> SourceId {
        SourceId(self.cluster.clone(), Via::Server)
    }

    pub(crate) fn partition(&self, kind: Kind) -> Partition {
        Partition { source: self.source(), kind, generation: self.generation }
    }

    /// Says which kinds will be listed: the cluster is shown when the last of them is. To be told before anything else.
    pub(crate) fn announce(&self) -> Batch {
        kinds(self.is_config).map(|kind| Event::Init(self.partition(kind))).collect()
    }
}

/// What the watchers of all API servers share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) tell: Sender<Batch>,
    /// Where last good versions are kept.
    pub(crate) store: Option<Arc<Store>>,
    /// The same service stands in many clusters under the same names.
    pub(crate) interner: Arc<Mutex<Interner>>,
}

/// The watchers of one API server; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    _tasks: JoinSet<()>,
    listed: watch::Receiver<BTreeSet<Kind>>,
    wanted: usize,
}

impl Server {
    /// Starts to follow an API server. `speaks` is false for an heir: it keeps silent, kind by kind, until its own first
    /// list of that kind arrives, and a running source of the same cluster stays in force till then (M-21).
    pub(crate) fn follow(asked: &Asked, speaks: bool, with: &Common) -> Self {
        let (listed, is_listed) = watch::channel(BTreeSet::new());
        let shared = Arc::new(Shared { tell: with.tell.clone(), interner: with.interner.clone(), listed, lost: Mutex::default() });
        let door = Arc::new(Door::new(asked.cluster.clone(), asked.access.clone()));
        let mut tasks = JoinSet::new();
        for kind in kinds(asked.is_config) {
            let log = with.store.as_ref().map(|store| store.log(&asked.cluster, kind));
            let mut facts = Facts::new(asked.partition(kind), shared.clone(), speaks, log);
            let door = door.clone();
            tasks.spawn(async move { reflect(&door, &Resource::of(kind), &mut facts).await });
        }
        if !asked.is_config {
            for kind in resource::OF_CONFIG {
                let (known, unseen) = (BTreeSet::new(), BTreeSet::new());
                let mut copies = Copies { source: asked.source(), kind, shared: shared.clone(), known, unseen };
                let door = door.clone();
                tasks.spawn(async move { reflect(&door, &Resource::of(kind), &mut copies).await });
            }
        }
        tasks.spawn(mind(door, asked.source(), shared.tell.clone()));
        if speaks {
            tasks.spawn(overdue(asked.clone(), shared, is_listed.clone()));
        }
        Self { _tasks: tasks, listed: is_listed, wanted: kinds(asked.is_config).count() }
    }

    /// True when every kind has been listed once.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.borrow().len() == self.wanted
    }

    /// Waits until every kind has been listed once.
    pub(crate) fn listed(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut listed, wanted) = (self.listed.clone(), self.wanted);
        async move {
            // An error means that the watchers have ended: there is nothing to wait for.
            let _ = listed.wait_for(|kinds| kinds.len() == wanted).await;
        }
    }
}

/// Says while the client certificate does not hold, or will not for long.
async fn mind(door: Arc<Door>, source: SourceId, tell: Sender<Batch>) {
    let mut told = None;
    loop {
        let warning = door.client_certificate().await.and_then(|certificate| certificate.warning(Timestamp::now()));
        if told.as_ref() != Some(&warning) {
            let problem = warning.as_ref().map(|warning| {
                let message = format!("the client certificate by which cluster {source} is read {warning}");
                let problem = Problem::new(Severity::Warning, "ISM0214", message);
                let file = door.file().map(|path| path.display().to_string().into()).unwrap_or_default();
                Problem { origin: Origin { file, cluster: source.0.clone(), ..Origin::default() }, ..problem }
            });
            if tell.send(vec![Event::Problems(source.clone(), CERTIFICATE.into(), problem.into_iter().collect())]).await.is_err() {
                return;
            }
            told = Some(warning);
        }
        tokio::time::sleep(MIND).await;
    }
}

/// Says of kinds of which nothing was heard in time that they failed; they go on being tried (M-23).
async fn overdue(asked: Asked, shared: Arc<Shared>, listed: watch::Receiver<BTreeSet<Kind>>) {
    tokio::time::sleep(asked.patience).await;
    let mut heard = listed.borrow().clone();
    heard.extend(shared.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter());
    let reason = format!("not listed within {} s", asked.patience.as_secs());
    let late = kinds(asked.is_config).filter(|kind| !heard.contains(kind));
    let batch: Batch = late.map(|kind| Event::Lost(asked.partition(kind), reason.clone())).collect();
    if !batch.is_empty() {
        // Nobody listening means that everything ends.
        let _ = shared.tell.send(batch).await;
    }
}
