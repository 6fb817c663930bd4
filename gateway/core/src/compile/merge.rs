//! Several DestinationRules for one host in one namespace become one (D-10..D-13).
//!
//! Rules are taken with their workload selector first, then by age. The first non-empty traffic policy wins as a whole
//! (D-12), the older definition of a subset wins entirely (D-11).

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::istio::destination_rule::{DestinationRule, Subset, TrafficPolicy};
use isthmus_config::object::{Labels, Object};

use crate::model::ExportTo;

/// A DestinationRule as it stands.
pub(super) type Source = Arc<Object<DestinationRule>>;

/// Some DestinationRules of one namespace for one host, merged.
#[derive(Debug)]
pub struct Rule {
    /// What it was merged from, in the order in which they were taken.
    pub sources: Vec<Source>,
    /// Who may see it.
    pub export_to: ExportTo,
    /// Clients that it is for; `None` is all (D-7).
    pub selector: Option<Labels>,
    policy: Option<Source>,
    subsets: Vec<(Source, usize)>,
}

impl Rule {
    fn new(source: &Source, export_to: ExportTo) -> Self {
        let selector = source.spec.workload_selector.as_ref().map(|s| s.match_labels.clone());
        let mut rule = Self { sources: Vec::new(), export_to, selector, policy: None, subsets: Vec::new() };
        rule.take(source);
        rule
    }

    fn take(&mut self, source: &Source) {
        self.sources.push(source.clone());
        if self.policy.is_none() && source.spec.traffic_policy.is_some() {
            self.policy = Some(source.clone());
        }
        for (i, subset) in source.spec.subsets.iter().enumerate() {
            if self.subset(&subset.name).is_none() {
                self.subsets.push((source.clone(), i));
            }
        }
    }

    /// The top-level traffic policy.
    pub fn policy(&self) -> Option<&TrafficPolicy> {
        self.policy.as_ref().and_then(|s| s.spec.traffic_policy.as_ref())
    }
    /// The subset of that name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets().find(|s| s.name == name)
    }
    /// Every subset, oldest first.
    pub fn subsets(&self) -> impl Iterator<Item = &Subset> {
        self.subsets.iter().map(|(s, i)| &s.spec.subsets[*i])
    }
    /// The objects whose text is in force for a subset, or for none ("").
    pub fn contributors(&self, subset: &str) -> impl Iterator<Item = &Source> {
        let defined = self.subsets.iter().filter(move |(s, i)| s.spec.subsets[*i].name == subset).map(|(s, _)| s);
        self.policy.iter().chain(defined)
    }
}

/// Merges the rules of one namespace and host. `sources` come with their parsed exportTo, in any order.
pub(super) fn merge(mut sources: Vec<(Source, ExportTo)>) -> Vec<Arc<Rule>> {
    sources.sort_by(|(a, _), (b, _)| {
        let plain = |s: &Source| s.spec.workload_selector.is_none();
        plain(a).cmp(&plain(b)).then_with(|| a.by_age(b))
    });
    let mut rules: Vec<Rule> = Vec::new();
    for (source, export_to) in &sources {
        let selector = source.spec.workload_selector.as_ref().map(|s| &s.match_labels);
        let mut alone = true;
        for rule in rules.iter_mut().filter(|r| r.selector.as_ref() == selector) {
            match relation(export_to, &rule.export_to) {
                Relation::Equal => {
                    rule.take(source);
                    alone = false;
                }
                Relation::Superset => rule.take(source),
                Relation::Other => {}
            }
        }
        if alone {
            rules.push(Rule::new(source, export_to.clone()));
        }
    }
    rules.into_iter().map(Arc::new).collect()
}

enum Relation {
    Equal,
    Superset,
    Other,
}

/// How the later exportTo stands to the earlier; as Istio compares the sets of words, `*` is a word like others (D-13).
fn relation(later: &ExportTo, earlier: &ExportTo) -> Relation {
    let words = |e: &ExportTo| -> BTreeSet<Arc<str>> {
        match e {
            ExportTo::All => BTreeSet::from(["*".into()]),
            ExportTo::Nobody => BTreeSet::from(["~".into()]),
            ExportTo::Only(list) => list.iter().cloned().collect(),
        }
    };
    let (later, earlier) = (words(later), words(earlier));
    if later == earlier {
        Relation::Equal
    } else if later.is_superset(&earlier) {
        Relation::Superset
    } else {
        Relation::Other
    }
}
