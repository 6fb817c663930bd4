//! Which WorkloadGroup an entry belongs to (S-11).
//!
//! One that registered itself says so in an annotation. One that a person wrote belongs to the group of its namespace
//! all of whose labels it carries, as every entry of that group would; a group without labels has no such entries.

use std::cmp::Reverse;
use std::sync::Arc;

use isthmus_config::istio::{WorkloadEntry, WorkloadGroup};
use isthmus_config::object::{Labels, Object};

use super::{labels, selects};

/// The annotation that names an entry's group.
const REGISTERED: &str = "istio.io/autoRegistrationGroup";

/// The group of an entry, out of those of its namespace: the one that it names, else the one with the most labels that it
/// carries, the first by name of several.
pub fn group_of<'a>(
    entry: &Object<WorkloadEntry>,
    groups: impl Iterator<Item = &'a Arc<Object<WorkloadGroup>>>,
) -> Option<&'a Arc<Object<WorkloadGroup>>> {
    let own = labels(entry);
    let named = entry.meta.annotations.get(REGISTERED);
    let mut fitting = groups.filter(|group| match named {
        Some(name) => group.meta.name == *name,
        None => {
            let wanted = labels_of(group);
            !wanted.is_empty() && selects(&wanted, &own)
        }
    });
    let first = fitting.next()?;
    Some(fitting.fold(first, |best, next| {
        let key = |group: &Object<WorkloadGroup>| (Reverse(labels_of(group).len()), group.meta.name.clone());
        if key(next) < key(best) { next } else { best }
    }))
}

/// The labels that a group gives to its entries: those of its metadata beat those of its template.
fn labels_of(group: &Object<WorkloadGroup>) -> Labels {
    let mut labels = group.spec.template.as_ref().map(|t| t.labels.clone()).unwrap_or_default();
    labels.extend(group.spec.metadata.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}

#[cfg(test)]
mod tests {
    use isthmus_config::object::{Meta, Origin};

    use super::*;

    fn made(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn group(name: &str, metadata: &[(&str, &str)], template: &[(&str, &str)]) -> Arc<Object<WorkloadGroup>> {
        let mut spec =
            WorkloadGroup { template: Some(WorkloadEntry { labels: made(template), ..WorkloadEntry::default() }), ..WorkloadGroup::default() };
        spec.metadata.labels = made(metadata);
        Arc::new(Object { meta: Meta { name: name.into(), ..Meta::default() }, spec, origin: Origin::default() })
    }

    #[test]
    fn entries_find_their_group_s11() {
        let app: &[(&str, &str)] = &[("app", "db")];
        let groups = [
            group("bare", &[], &[]),
            group("db", app, &[]),
            group("db-too", &[], app),
            group("db-v2", app, &[("version", "v2")]),
            group("web", &[("app", "web")], &[("app", "db")]),
        ];
        let entry = |annotation: &str, own: &[(&str, &str)]| {
            let annotations = if annotation.is_empty() { Labels::default() } else { made(&[(REGISTERED, annotation)]) };
            let spec = WorkloadEntry { labels: made(own), ..WorkloadEntry::default() };
            Object { meta: Meta { annotations, ..Meta::default() }, spec, origin: Origin::default() }
        };
        for (about, entry, want) in [
            ("named, whatever the labels", entry("bare", &[]), Some("bare")),
            ("a group that is not there", entry("gone", app), None),
            ("by labels, the first by name", entry("", app), Some("db")),
            ("more labels count more", entry("", &[("app", "db"), ("version", "v2"), ("x", "y")]), Some("db-v2")),
            ("metadata beats the template", entry("", &[("app", "web")]), Some("web")),
            ("no labels, no group", entry("", &[]), None),
            ("other labels", entry("", &[("app", "other")]), None),
        ] {
            assert_eq!(group_of(&entry, groups.iter()).map(|g| &*g.meta.name), want, "{about}");
        }
    }
}
