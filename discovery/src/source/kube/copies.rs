//! Istio objects in a member: told as copies, never read as rules (M-26).
//!
//! Who may not read them says nothing: they are only for the eye.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::parse::parse_object;

use super::facts::Shared;
use super::reflect::Take;
use super::request::Head;
use crate::source::{Batch, Event, SourceId};

/// The copies of one kind in one member.
pub(super) struct Copies {
    pub(super) source: SourceId,
    pub(super) kind: Kind,
    pub(super) shared: Arc<Shared>,
    pub(super) known: BTreeSet<ObjectRef>,
    /// While a list is under way: what it has not named yet.
    pub(super) unseen: BTreeSet<ObjectRef>,
}

impl Copies {
    fn note(&mut self, object: ObjectRef, text: Option<(&str, &str)>, batch: &mut Batch) {
        let parsed = text.map(|(json, api_version)| parse_object(json, api_version, self.kind.as_str(), &self.source.0));
        let document = parsed.and_then(|parsed| parsed.documents.into_iter().next());
        self.unseen.remove(&object);
        if document.is_some() {
            self.known.insert(object.clone());
        } else if !self.known.remove(&object) {
            return;
        }
        batch.push(Event::Copy(self.source.clone(), object, document));
    }
}

impl Take for Copies {
    fn begin(&mut self, _: &mut Batch) {
        self.unseen = self.known.clone();
    }
    fn take(&mut self, json: &str, api_version: &str, head: &Head, batch: &mut Batch) {
        let object = ObjectRef::new(self.kind, head.metadata.namespace.as_str(), head.metadata.name.as_str());
        self.note(object, Some((json, api_version)), batch);
    }
    fn gone(&mut self, head: &Head, batch: &mut Batch) {
        let object = ObjectRef::new(self.kind, head.metadata.namespace.as_str(), head.metadata.name.as_str());
        self.note(object, None, batch);
    }
    fn done(&mut self, batch: &mut Batch) {
        for object in std::mem::take(&mut self.unseen) {
            self.note(object, None, batch);
        }
    }
    fn lost(&mut self, _: &str, _: &mut Batch) {}
    fn resumed(&mut self, _: &mut Batch) {}
    fn holds_any(&self) -> bool {
        !self.known.is_empty()
    }
    async fn tell(&mut self, batch: Batch) -> bool {
        self.shared.tell.send(batch).await.is_ok()
    }
}
