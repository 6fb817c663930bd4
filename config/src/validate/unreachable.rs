//! Rules of a VirtualService that no request reaches: IST0130 for a rule, IST0131 for one of its matches.
//!
//! Only what is certain is told: a rule behind one without matches, a match that stands earlier word for word, and a
//! longer prefix behind a shorter one with the same conditions. Cost grows with the rules, never with their pairs.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use foldhash::fast::FixedState;
use serde::Serialize;

use super::Checker;
use crate::istio::virtual_service::{HttpMatchRequest, VirtualService};
use crate::object::{ByKey, Labels};
use crate::problem::Severity;
use crate::value::StringMatch;

/// Warns of every rule and match of `spec` that cannot be reached.
pub(super) fn unreachable(c: &mut Checker<'_>, spec: &VirtualService) {
    let whole = |matched| (Conditions::of(matched), matched.uri.as_ref(), &*matched.stat_prefix);
    rules(c, "http", spec.http.iter().map(|route| route.r#match.iter().map(whole).collect()));
    rules(c, "tls", spec.tls.iter().map(|route| route.r#match.iter().map(written).collect()));
    rules(c, "tcp", spec.tcp.iter().map(|route| route.r#match.iter().map(written).collect()));
    prefixes(c, spec);
}

/// A match as text, equal for equal matches.
fn written(matched: &impl Serialize) -> String {
    serde_json::to_string(matched).unwrap_or_default()
}

/// What a match asks for beside the path; neither name nor statistics make it another.
#[derive(PartialEq, Eq, Hash)]
struct Conditions<'a> {
    texts: [Option<&'a StringMatch>; 3],
    maps: [&'a ByKey<StringMatch>; 3],
    port: u32,
    source: (&'a Labels, &'a str),
    gateways: &'a [String],
    ignore_uri_case: bool,
}

impl<'a> Conditions<'a> {
    fn of(matched: &'a HttpMatchRequest) -> Self {
        Self {
            texts: [matched.scheme.as_deref(), matched.method.as_deref(), matched.authority.as_deref()],
            maps: [&matched.headers, &matched.without_headers, &matched.query_params],
            port: matched.port,
            source: (&matched.source_labels, &matched.source_namespace),
            gateways: &matched.gateways,
            ignore_uri_case: matched.ignore_uri_case,
        }
    }
}

fn rules<K: Eq + Hash>(c: &mut Checker<'_>, field: &str, rules: impl Iterator<Item = Vec<K>>) {
    let mut seen: HashMap<K, usize, FixedState> = HashMap::default();
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

/// Prefixes asked for with the same conditions: the first rule of each, and how long they are.
#[derive(Default)]
struct Prefixes<'a> {
    rules: HashMap<&'a str, usize, FixedState>,
    lengths: BTreeSet<usize>,
}

/// Matches by uri prefix that fall under an earlier, shorter prefix with the same other conditions.
fn prefixes(c: &mut Checker<'_>, spec: &VirtualService) {
    let mut seen: HashMap<Conditions<'_>, Prefixes<'_>, FixedState> = HashMap::default();
    for (i, route) in spec.http.iter().enumerate() {
        for (j, matched) in route.r#match.iter().enumerate() {
            let Some(StringMatch::Prefix(prefix)) = &matched.uri else { continue };
            let alike = seen.entry(Conditions::of(matched)).or_default();
            let mut shorter = alike.lengths.range(..prefix.len()).filter_map(|length| prefix.get(..*length));
            if let Some((short, rule)) = shorter.find_map(|short| alike.rules.get(short).map(|rule| (short, *rule))) {
                let message = format!("has no effect: http[{rule}] takes every request below {short:?}");
                c.nth("http", i, |c| c.nth("match", j, |c| c.report(Severity::Info, "IST0131", "", message)));
            }
            alike.lengths.insert(prefix.len());
            alike.rules.entry(prefix).or_insert(i);
        }
    }
}
