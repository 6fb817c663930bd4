//! Several DestinationRules for one host in one namespace become one (D-10..D-13).
//!
//! Rules are taken with their workload selector first, then by age. The first non-empty traffic policy wins as a whole
//! (D-12), the older definition of a subset wins entirely (D-11).

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::istio::destination_rule::{DestinationRule, Subset, TrafficPolicy};
use isthmus_config::object::{Labels, Object};

/// A DestinationRule as it stands.
pub(super) type Source = Arc<Object<DestinationRule>>;

/// Some DestinationRules of one namespace for one host, merged.
#[derive(Debug)]
pub struct Rule {
    /// What it was merged from, in the order in which they were taken.
    pub sources: Vec<Source>,
    /// Who may see it, in the words of the first (D-13).
    words: BTreeSet<Arc<str>>,
    /// Clients that it is for; `None` is all (D-7).
    pub selector: Option<Labels>,
    policy: Option<Source>,
    subsets: Vec<(Source, usize)>,
}

impl Rule {
    fn new(source: &Source) -> Self {
        let selector = source.spec.workload_selector.as_ref().map(|s| s.match_labels.clone());
        let mut rule = Self { sources: Vec::new(), words: words(source), selector, policy: None, subsets: Vec::new() };
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

    /// True where clients of `namespace` may see it though it is another's (D-3).
    pub fn is_shown_to(&self, namespace: &str) -> bool {
        self.words.is_empty() || self.words.contains("*") || self.words.contains(namespace)
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

/// Merges the rules of one namespace and host, given in any order, exactly as Istio does, odd ends included: a rule that some
/// earlier one does not take in stands alone as well, whatever the ones before that did; `exportTo: ["."]` meets a selector.
pub(super) fn merge(mut sources: Vec<Source>) -> Vec<Arc<Rule>> {
    sources.sort_by(|a, b| {
        let plain = |s: &Source| s.spec.workload_selector.is_none();
        plain(a).cmp(&plain(b)).then_with(|| a.by_age(b))
    });
    let mut rules: Vec<Rule> = Vec::new();
    for source in &sources {
        let (words, selector) = (words(source), source.spec.workload_selector.as_ref().map(|s| &s.match_labels));
        let mut alone = true;
        for rule in &mut rules {
            alone = words != rule.words;
            if alone && (rule.words.is_empty() || !words.is_superset(&rule.words)) {
                continue;
            }
            match (&rule.selector, selector) {
                (Some(earlier), Some(later)) if earlier != later => {
                    alone = true;
                    continue;
                }
                (Some(_), Some(_)) | (None, None) => alone = false,
                (Some(_), None) | (None, Some(_)) => {}
            }
            rule.take(source);
        }
        if alone {
            rules.push(Rule::new(source));
        }
    }
    rules.into_iter().map(Arc::new).collect()
}

/// `exportTo` as it is written, a set of words of which `*` and `.` are two; a rule with a selector is for its own namespace (D-13).
pub(super) fn words(source: &Source) -> BTreeSet<Arc<str>> {
    if source.spec.workload_selector.is_some() {
        return BTreeSet::from([".".into()]);
    }
    source.spec.export_to.iter().map(|word| Arc::from(word.trim())).collect()
}
