//! What one kind of one cluster's API server tells the registry: decoded as files are, judged alike.
//!
//! An object that cannot be read is a problem and keeps its last good version; one that says nothing to a gateway (a
//! failed pod, a slice of names) is as good as gone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::parse::parse_object;
use isthmus_config::problem::{Problem, Severity};
use isthmus_config::validate::{refuses, validate};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use super::reflect::Take;
use super::request::Head;
use crate::kubernetes::{Interner, fact, remark};
use crate::source::{Batch, Event, Fact, Partition};
use crate::state::Log;

/// Under this name stands what is wrong with a kubeconfig that was to replace another.
const KUBECONFIG: &str = "kubeconfig";

/// What the watchers of one cluster share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tell: Sender<Batch>,
    pub(super) interner: Arc<Mutex<Interner>>,
    /// The kinds that have been listed at least once.
    pub(super) listed: watch::Sender<BTreeSet<Kind>>,
    /// The kinds of which it was said why they cannot be read.
    pub(super) lost: Mutex<BTreeSet<Kind>>,
}

/// One kind of one cluster.
pub(super) struct Facts {
    pub(super) partition: Partition,
    pub(super) shared: Arc<Shared>,
    /// True once this source speaks for its partition: an heir that replaces a running source keeps silent until its
    /// first list arrives.
    pub(super) speaks: bool,
    /// Where the last good versions are kept.
    pub(super) log: Option<Log>,
    /// Objects that are known; only of kinds that may be uninstalled.
    known: BTreeSet<ObjectRef>,
    /// Problems told and not taken back: by key, the list in which they were told.
    told: HashMap<Arc<str>, u64>,
    list: u64,
}

impl Facts {
    pub(super) fn new(partition: Partition, shared: Arc<Shared>, speaks: bool, log: Option<Log>) -> Self {
        Self { partition, shared, speaks, log, known: BTreeSet::new(), told: HashMap::new(), list: 0 }
    }

    fn reference(&self, head: &Head) -> ObjectRef {
        ObjectRef::new(self.partition.kind, head.metadata.namespace.as_str(), head.metadata.name.as_str())
    }

    fn problems(&mut self, object: &ObjectRef, problems: Vec<Problem>, batch: &mut Batch) {
        let key: Arc<str> = object.to_string().into();
        let had = if problems.is_empty() { self.told.remove(&key).is_some() } else { self.told.insert(key.clone(), self.list).is_some() };
        if had || !problems.is_empty() {
            batch.push(Event::Problems(self.partition.source.clone(), key, problems));
        }
    }

    fn keep(&mut self, object: &ObjectRef) {
        if let Some(log) = &mut self.log {
            log.keep(object);
        }
    }

    fn forget(&mut self, object: ObjectRef, batch: &mut Batch) {
        self.known.remove(&object);
        if let Some(log) = &mut self.log {
            log.delete(&object);
        }
        batch.push(Event::Delete(self.partition.clone(), object));
    }
}

impl Take for Facts {
    fn begin(&mut self, batch: &mut Batch) {
        if !std::mem::replace(&mut self.speaks, true) {
            batch.push(Event::Problems(self.partition.source.clone(), KUBECONFIG.into(), Vec::new()));
        }
        self.list += 1;
        self.known.clear();
        if let Some(log) = &mut self.log {
            log.begin();
        }
        batch.push(Event::Init(self.partition.clone()));
    }

    fn take(&mut self, text: &str, api_version: &str, head: &Head, batch: &mut Batch) {
        let object = self.reference(head);
        let parsed = parse_object(text, api_version, self.partition.kind.as_str(), &self.partition.source.0);
        let document = parsed.documents.into_iter().next();
        let remark = document.as_ref().and_then(remark);
        self.problems(&object, parsed.problems.into_iter().chain(remark).collect(), batch);
        let Some(document) = document else {
            self.keep(&object);
            batch.push(Event::Kept(self.partition.clone(), object));
            return;
        };
        // The lock guards nothing that a panic could leave half done.
        let told = fact(document, &mut self.shared.interner.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let Some(told) = told else { return self.forget(object, batch) };
        // The registry judges too; what it refuses must not take the place of the good version on disk.
        let is_refused = if let Fact::Istio(_, document) = &told { self.log.is_some() && refuses(&validate(document)) } else { false };
        if is_refused {
            self.keep(&object);
        } else if let Some(log) = &mut self.log {
            log.put(&object, text, api_version);
        }
        if let Fact::Istio(object, _) = &told {
            self.known.insert(object.clone());
        }
        batch.push(Event::Apply(self.partition.clone(), told));
    }

    fn gone(&mut self, head: &Head, batch: &mut Batch) {
        let object = self.reference(head);
        self.problems(&object, Vec::new(), batch);
        self.forget(object, batch);
    }

    fn done(&mut self, batch: &mut Batch) {
        let old: Vec<Arc<str>> = self.told.iter().filter(|(_, list)| **list != self.list).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.told.remove(&key);
            batch.push(Event::Problems(self.partition.source.clone(), key, Vec::new()));
        }
        if let Some(log) = &mut self.log {
            log.done();
        }
        batch.push(Event::InitDone(self.partition.clone()));
        let kind = self.partition.kind;
        self.shared.listed.send_if_modified(|listed| listed.insert(kind));
    }

    fn lost(&mut self, reason: &str, batch: &mut Batch) {
        if self.speaks {
            self.shared.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(self.partition.kind);
            batch.push(Event::Lost(self.partition.clone(), reason.to_owned()));
        } else {
            let message = format!("the new kubeconfig of {} cannot be used, the old one stays: {reason}", self.partition.source);
            let problem = Problem::new(Severity::Warning, "ISM0207", message);
            batch.push(Event::Problems(self.partition.source.clone(), KUBECONFIG.into(), vec![problem]));
        }
    }

    fn resumed(&mut self, batch: &mut Batch) {
        batch.push(Event::Resumed(self.partition.clone()));
    }

    fn holds_any(&self) -> bool {
        !self.known.is_empty()
    }

    fn wants_list(&mut self) -> bool {
        self.log.as_mut().is_some_and(Log::wants_list)
    }

    async fn tell(&mut self, batch: Batch) -> bool {
        self.shared.tell.send(batch).await.is_ok()
    }
}
