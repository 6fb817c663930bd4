//! Rules of a VirtualService that no request reaches: IST0130 for a rule, IST0131 for one of its matches.
//!
//! Only what is certain is told: a rule behind one without matches, a match that stands earlier word for word, and a
//! longer prefix behind a shorter one with the same conditions. Cost grows with the rules, never with their pairs.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::Checker;
use crate::istio::virtual_service::{HttpMatchRequest, VirtualService};
use crate::problem::Severity;
use crate::value::StringMatch;

/// Warns of every rule and match of `spec` that cannot be reached.
pub(super) fn unreachable(c: &mut Checker<'_>, spec: &VirtualService) {
    let nameless = |matched: &HttpMatchRequest| written(&HttpMatchRequest { name: String::new(), ..matched.clone() });
    rules(c, "http", spec.http.iter().map(|route| route.r#match.iter().map(nameless).collect()));
    rules(c, "tls", spec.tls.iter().map(|route| route.r#match.iter().map(written).collect()));
    rules(c, "tcp", spec.tcp.iter().map(|route| route.r#match.iter().map(written).collect()));
    prefixes(c, spec);
}

/// A match as text, equal for equal matches.
fn written(matched: &impl Serialize) -> String {
    serde_json::to_string(matched).unwrap_or_default()
}

fn rules(c: &mut Checker<'_>, field: &str, rules: impl Iterator<Item = Vec<String>>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut takes_all = None;
    for (i, matches) in rules.enumerate() {
        if let Some(first) = takes_all {
            let message = format!("never reached: {field}[{first}] has no matches and takes every request");
            c.nth(field, i, |c| c.report(Severity::Warning, "IST0130", "", message));
            continue;
        }
        if matches.is_empty() {
            takes_all = Some(i);
            continue;
        }
        let (mut twice, total) = (0, matches.len());
        for (j, matched) in matches.into_iter().enumerate() {
            match seen.get(&matched) {
                Some(first) => {
                    twice += 1;
                    let message = format!("has no effect: the same match stands in {field}[{first}]");
                    c.nth(field, i, |c| c.nth("match", j, |c| c.report(Severity::Info, "IST0131", "", message)));
                }
                None => drop(seen.insert(matched, i)),
            }
        }
        if twice == total {
            c.nth(field, i, |c| c.report(Severity::Warning, "IST0130", "", "never reached: all of its matches stand in earlier rules"));
        }
    }
}

/// Matches by uri prefix that fall under an earlier, shorter prefix with the same other conditions.
fn prefixes(c: &mut Checker<'_>, spec: &VirtualService) {
    let mut seen: HashMap<(&str, String), usize> = HashMap::new();
    let mut lengths = BTreeSet::new();
    for (i, route) in spec.http.iter().enumerate() {
        for (j, matched) in route.r#match.iter().enumerate() {
            let Some(StringMatch::Prefix(prefix)) = &matched.uri else { continue };
            let others = written(&HttpMatchRequest { name: String::new(), stat_prefix: String::new(), uri: None, ..matched.clone() });
            let mut shorter = lengths.range(..prefix.len()).filter_map(|length| prefix.get(..*length));
            let covering = shorter.find_map(|short| seen.get(&(short, others.clone())).map(|rule| (short, *rule)));
            if let Some((short, rule)) = covering {
                let message = format!("has no effect: http[{rule}] takes every request below {short:?}");
                c.nth("http", i, |c| c.nth("match", j, |c| c.report(Severity::Info, "IST0131", "", message)));
            }
            lengths.insert(prefix.len());
            seen.entry((prefix, others)).or_insert(i);
        }
    }
}
