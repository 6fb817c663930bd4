//! Which places hold which object, and which of them counts.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{ObjectRef, Origin};
use isthmus_config::problem::{Problem, Severity};
use smallvec::SmallVec;

use crate::source::Fact;

/// Where an object stands. `Ord`: the one that counts first - later layers, then by path, then by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layer: u32,
    pub(super) file: Arc<str>,
    pub(super) position: u32,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |p: &Self| (Reverse(p.layer), p.file.clone(), p.position);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Default)]
struct Versions {
    /// By place; nearly always one.
    all: SmallVec<[(Place, Fact); 1]>,
    told: Told,
}

/// What was told last of an object.
#[derive(Debug, Default)]
enum Told {
    #[default]
    Nothing,
    /// The version that stands first.
    First,
    /// One that has made way since.
    Other(Box<Fact>),
}

impl Versions {
    /// Before another version comes to stand first.
    fn first_makes_way(&mut self) {
        if let (Told::First, Some((_, fact))) = (&self.told, self.all.first()) {
            self.told = Told::Other(Box::new(fact.clone()));
        }
    }
}

/// Every object of a source at every place that holds it. There may be a hundred thousand of them: each is kept in one
/// allocation, and its name is that of the fact.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<Arc<ObjectRef>, Box<Versions>>);

/// What has become of an object.
#[derive(Debug)]
pub(super) enum Turn {
    /// As it was told.
    Same,
    /// It is now so.
    Now(Fact),
    /// No place holds it any more.
    Gone,
}

impl Held {
    pub(super) fn insert(&mut self, object: Arc<ObjectRef>, place: Place, fact: Fact) {
        let versions = self.0.entry(object).or_default();
        let at = versions.all.partition_point(|(p, _)| *p < place);
        if at == 0 {
            versions.first_makes_way();
        }
        versions.all.insert(at, (place, fact));
    }

    /// Takes out what one file holds of an object.
    pub(super) fn remove(&mut self, object: &ObjectRef, file: &str) {
        if let Some(versions) = self.0.get_mut(object) {
            if versions.all.first().is_some_and(|(p, _)| *p.file == *file) {
                versions.first_makes_way();
            }
            versions.all.retain(|(p, _)| *p.file != *file);
        }
    }

    pub(super) fn places(&self, object: &ObjectRef) -> impl Iterator<Item = &Place> {
        self.0.get(object).into_iter().flat_map(|v| &v.all).map(|(place, _)| place)
    }

    /// The version of each object that counts.
    pub(super) fn winners(&self) -> impl Iterator<Item = (&Arc<ObjectRef>, &Fact)> {
        self.0.iter().filter_map(|(object, v)| v.all.first().map(|(_, fact)| (object, fact)))
    }

    /// What has become of an object since it was told.
    pub(super) fn turn(&mut self, object: &ObjectRef) -> Turn {
        let Some(versions) = self.0.get_mut(object) else { return Turn::Same };
        let told = std::mem::take(&mut versions.told);
        let Some((_, now)) = versions.all.first_mut() else {
            self.0.remove(object);
            return match told {
                Told::Nothing => Turn::Same,
                Told::First | Told::Other(_) => Turn::Gone,
            };
        };
        versions.told = Told::First;
        match told {
            Told::First => Turn::Same,
            Told::Other(old) if *old == *now => {
                // Equal to the one that the listeners have: let there be one of it.
                *now = *old;
                Turn::Same
            }
            Told::Nothing | Told::Other(_) => Turn::Now(now.clone()),
        }
    }

    /// A problem for each place of `file` at which an object stands that another place of the same layer gives first.
    pub(super) fn duplicates(&self, object: &ObjectRef, file: &Arc<str>, layer: u32, cluster: &ClusterId) -> Vec<Problem> {
        let all = self.0.get(object).map(|v| &*v.all).unwrap_or_default();
        let mut layered = all.iter().filter(|(p, _)| p.layer == layer);
        let Some((first, _)) = layered.next() else { return Vec::new() };
        let here = layered.filter(|(p, _)| p.file == *file);
        here.map(|(place, fact)| {
            let at_place = || Origin { cluster: cluster.clone(), file: place.file.clone(), position: place.position, ..Origin::default() };
            let written = fact.origin().cloned().unwrap_or_else(at_place);
            let message = format!("not in force: {object} stands in {} already, and the first by path and position counts", first.file);
            Problem::new(Severity::Error, "ISM0201", message).of(object.clone(), &written)
        })
        .collect()
    }
}
