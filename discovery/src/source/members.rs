//! Members by remote secret (M-20..M-22): secrets of the config cluster, each key a cluster, each value its kubeconfig.
//!
//! A member whose kubeconfig changed is followed anew beside the old one, which stays until the new one has listed
//! everything. A kubeconfig that is refused rejects itself: a member that runs already keeps the one it has. Secrets that
//! cannot be read any more take nothing away; only a completed list or a deletion does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::problem::{Problem, Severity};
use k8s_openapi::api::core::v1::Secret;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::kube::{Access, Asked, Common, Head, Server, Take};
use super::{Batch, Event, Partition, SourceId, Via};

/// A remote secret as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remote {
    created: Option<i64>,
    kubeconfigs: BTreeMap<ClusterId, Arc<str>>,
    /// Values that are no text.
    unreadable: Vec<ClusterId>,
}

/// The secret that provides a member, and its kubeconfig unless that is refused.
type Wanted = (ObjectRef, Option<(Access, Arc<str>)>);

/// A member that is followed.
#[derive(Debug)]
struct Member {
    secret: ObjectRef,
    kubeconfig: Arc<str>,
    /// Absent while the member is known from disk only.
    server: Option<Server>,
    /// The one whose place `server` takes when it has listed everything.
    elder: Arc<Mutex<Option<Server>>>,
    /// Waits for that moment.
    relief: JoinSet<()>,
}

/// The members that the config cluster's secrets name.
#[derive(Debug)]
pub(crate) struct Members {
    partition: Partition,
    /// Clusters that isthmus.yaml names.
    configured: Vec<ClusterId>,
    patience: Duration,
    common: Common,
    secrets: BTreeMap<ObjectRef, Remote>,
    /// What the list under way has named.
    listing: Option<BTreeMap<ObjectRef, Remote>>,
    running: BTreeMap<ClusterId, Member>,
    generation: u64,
    told: BTreeMap<Arc<str>, Vec<Problem>>,
}

impl Members {
    /// Nobody yet. `partition` stands for the secrets of the config cluster; members that were restored from disk are
    /// followed as soon as a secret names them, and end if none does.
    pub(crate) fn new(
        partition: Partition,
        configured: Vec<ClusterId>,
        patience: Duration,
        common: Common,
        restored: BTreeMap<ClusterId, ObjectRef>,
    ) -> Self {
        let running = restored.into_iter().map(|(cluster, secret)| (cluster, Member::unreached(secret))).collect();
        // Restored facts are of the first generation.
        let generation = partition.generation;
        Self { partition, configured, patience, common, secrets: BTreeMap::new(), listing: None, running, generation, told: BTreeMap::new() }
    }

    /// Brings what is followed in line with the secrets.
    fn reconcile(&mut self, batch: &mut Batch) {
        let mut problems: BTreeMap<Arc<str>, Vec<Problem>> = BTreeMap::new();
        let mut wanted: BTreeMap<ClusterId, Wanted> = BTreeMap::new();
        for (secret, remote) in self.by_precedence() {
            let mut note = |message: String| {
                let problem = Problem { object: Some(secret.clone()), ..Problem::new(Severity::Error, "ISM0206", message) };
                problems.entry(secret.to_string().into()).or_default().push(problem);
            };
            for cluster in &remote.unreadable {
                note(format!("{cluster}: not a kubeconfig: not UTF-8 text"));
                wanted.entry(cluster.clone()).or_insert_with(|| (secret.clone(), None));
            }
            for (cluster, kubeconfig) in &remote.kubeconfigs {
                if *cluster == self.partition.source.0 {
                    continue;
                }
                if self.configured.contains(cluster) {
                    note(format!("{cluster} is ignored: isthmus.yaml names a cluster of that name"));
                    continue;
                }
                if let Some((first, _)) = wanted.get(cluster) {
                    note(format!("{cluster} is ignored: {first} names a cluster of that name already"));
                    continue;
                }
                let access = match Access::of_secret(kubeconfig) {
                    Ok(access) => Some((access, kubeconfig.clone())),
                    Err(reason) => {
                        note(format!("{cluster}: {reason}"));
                        None
                    }
                };
                wanted.insert(cluster.clone(), (secret.clone(), access));
            }
        }
        let gone: Vec<ClusterId> = self.running.keys().filter(|c| !wanted.contains_key(*c)).cloned().collect();
        for cluster in gone {
            info!(%cluster, "member removed");
            self.running.remove(&cluster);
            if let Some(store) = &self.common.store {
                store.forget(&cluster);
            }
            batch.push(Event::Removed(SourceId(cluster, Via::Server)));
        }
        for (cluster, (secret, access)) in wanted {
            if let Some((access, kubeconfig)) = access {
                self.follow(cluster, secret, access, kubeconfig, batch);
            }
        }
        let source = self.partition.source.clone();
        let cleared = self.told.keys().filter(|key| !problems.contains_key(*key)).cloned().collect::<Vec<_>>();
        batch.extend(cleared.into_iter().map(|key| Event::Problems(source.clone(), key, Vec::new())));
        let new = problems.iter().filter(|(key, list)| self.told.get(*key) != Some(*list));
        batch.extend(new.map(|(key, list)| Event::Problems(source.clone(), key.clone(), list.clone())));
        self.told = problems;
    }

    /// Secrets that provide a member already come first, then the older one (M-20).
    fn by_precedence(&self) -> Vec<(ObjectRef, Remote)> {
        let mut all: Vec<_> = self.secrets.iter().map(|(secret, remote)| (secret.clone(), remote.clone())).collect();
        let provides = |secret: &ObjectRef| self.running.values().any(|m| m.secret == *secret);
        all.sort_by_key(|(secret, remote)| (!provides(secret), remote.created.is_none(), remote.created, secret.clone()));
        all
    }

    fn follow(&mut self, cluster: ClusterId, secret: ObjectRef, access: Access, kubeconfig: Arc<str>, batch: &mut Batch) {
        if self.running.get(&cluster).is_some_and(|m| m.server.is_some() && m.kubeconfig == kubeconfig) {
            if let Some(member) = self.running.get_mut(&cluster) {
                member.secret = secret;
            }
            return;
        }
        self.generation += 1;
        let asked = Asked { cluster: cluster.clone(), access, is_config: false, generation: self.generation, patience: self.patience };
        let from: Arc<str> = format!("{}/{}", secret.namespace, secret.name).into();
        if let Some(store) = &self.common.store {
            store.note_member(&cluster, &secret);
        }
        let member = self.running.entry(cluster.clone()).or_insert_with(|| Member::unreached(secret.clone()));
        (member.secret, member.kubeconfig) = (secret, kubeconfig);
        batch.push(Event::Joined(cluster.clone(), from));
        let Some(running) = member.server.take() else {
            batch.extend(asked.announce());
            member.server = Some(Server::follow(&asked, true, &self.common));
            return;
        };
        info!(%cluster, "member's kubeconfig changed, following it anew");
        let heir = Server::follow(&asked, false, &self.common);
        // One that never listed everything has nothing to bridge with: the one before it goes on doing so.
        let mut elder = member.elder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if running.is_listed() || elder.is_none() {
            *elder = Some(running);
        }
        drop(elder);
        member.relief.abort_all();
        let (listed, elder) = (heir.listed(), member.elder.clone());
        member.relief.spawn(async move {
            listed.await;
            drop(elder.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
            info!(%cluster, "member's new kubeconfig is in force");
        });
        member.server = Some(heir);
    }
}

impl Member {
    fn unreached(secret: ObjectRef) -> Self {
        Self { secret, kubeconfig: "".into(), server: None, elder: Arc::default(), relief: JoinSet::new() }
    }
}

impl Remote {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let secret: Secret = serde_json::from_str(text)?;
        let (mut kubeconfigs, mut unreadable) = (BTreeMap::new(), Vec::new());
        for (cluster, value) in secret.data.unwrap_or_default() {
            match String::from_utf8(value.0) {
                Ok(text) => drop(kubeconfigs.insert(cluster.as_str().into(), text.into())),
                Err(_) => unreadable.push(cluster.as_str().into()),
            }
        }
        Ok(Self { created: secret.metadata.creation_timestamp.map(|t| t.0.as_second()), kubeconfigs, unreadable })
    }
}

fn reference(head: &Head) -> ObjectRef {
    ObjectRef::new(Kind::Secret, head.metadata.namespace.as_str(), head.metadata.name.as_str())
}

impl Take for Members {
    fn begin(&mut self, batch: &mut Batch) {
        self.listing = Some(BTreeMap::new());
        batch.push(Event::Init(self.partition.clone()));
    }

    fn take(&mut self, object: &str, _: &str, head: &Head, batch: &mut Batch) {
        let secret = reference(head);
        let remote = match Remote::read(object) {
            Ok(remote) => remote,
            Err(error) => {
                warn!(%secret, %error, "remote secret cannot be read, its last good version stays");
                match self.secrets.get(&secret) {
                    Some(last) => last.clone(),
                    None => return,
                }
            }
        };
        match &mut self.listing {
            Some(listing) => drop(listing.insert(secret, remote)),
            None => {
                self.secrets.insert(secret, remote);
                self.reconcile(batch);
            }
        }
    }

    fn gone(&mut self, head: &Head, batch: &mut Batch) {
        self.secrets.remove(&reference(head));
        self.reconcile(batch);
    }

    fn done(&mut self, batch: &mut Batch) {
        if let Some(listing) = self.listing.take() {
            self.secrets = listing;
        }
        // Members are announced before the list ends, so the config cluster is never shown without them being waited for.
        self.reconcile(batch);
        batch.push(Event::InitDone(self.partition.clone()));
    }

    fn lost(&mut self, reason: &str, batch: &mut Batch) {
        batch.push(Event::Lost(self.partition.clone(), reason.to_owned()));
    }

    fn resumed(&mut self, batch: &mut Batch) {
        batch.push(Event::Resumed(self.partition.clone()));
    }

    fn holds_any(&self) -> bool {
        !self.secrets.is_empty()
    }

    async fn tell(&mut self, batch: Batch) -> bool {
        self.common.tell.send(batch).await.is_ok()
    }
}
