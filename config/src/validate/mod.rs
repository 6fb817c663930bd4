//! The admission rules (contract section 1), one file a kind.
//!
//! What Istio's webhook or its schema refuses is an error (IST0106), what they warn of a warning (IST0133, or the code
//! of its own that an analyzer has); every problem names its field. Only one object is looked at: what needs others is
//! analysis. An object with an error is refused, its last good version stays in force.

use std::fmt::Write as _;

use crate::decode::push_key;
use crate::istio::annotations;
use crate::object::{Kind, Labels, Object, ObjectRef, Origin};
use crate::parse::Document;
use crate::problem::{Problem, Severity};
use crate::value::Duration;

mod destination_rule;
mod envoy_filter;
mod gateway;
mod grammar;
mod http_route;
mod locality;
mod service_entry;
mod unreachable;
mod virtual_service;
mod workload;

pub use destination_rule::destination_rule;
pub use envoy_filter::envoy_filter;
pub use gateway::gateway;
pub use service_entry::service_entry;
pub use virtual_service::{virtual_service, virtual_service_after};
pub use workload::{workload_entry, workload_group};

/// Everything that is wrong with one object by itself; an error refuses it.
pub fn validate(document: &Document) -> Vec<Problem> {
    match document {
        Document::Gateway(o) => gateway(o),
        Document::VirtualService(o) => virtual_service(o),
        Document::DestinationRule(o) => destination_rule(o),
        Document::ServiceEntry(o) => service_entry(o),
        Document::WorkloadEntry(o) => workload_entry(o),
        Document::WorkloadGroup(o) => workload_group(o),
        Document::EnvoyFilter(o) => envoy_filter(o),
        Document::Unenforced(o) => {
            let name = if o.meta.namespace.is_empty() { o.meta.name.to_string() } else { format!("{}/{}", o.meta.namespace, o.meta.name) };
            let message = format!("{} {name}: Istio would enforce this at the gateway, Isthmus does not", o.kind);
            vec![Problem { origin: o.origin.clone(), ..Problem::new(Severity::Warning, "ISM0104", message) }]
        }
        Document::Service(_)
        | Document::EndpointSlice(_)
        | Document::Pod(_)
        | Document::Node(_)
        | Document::Namespace(_)
        | Document::Secret(_)
        | Document::NotUsed(_) => Vec::new(),
    }
}

/// True where one of an object's problems refuses it. An analyzer's error (IST0152 …) refuses its part alone.
pub fn refuses(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.severity == Severity::Error && p.code == "IST0106")
}

/// A rule's verdict: what is wrong, or nothing.
type Verdict = Result<(), String>;

/// Walks one object, and knows at which field it stands.
struct Checker<'o> {
    object: ObjectRef,
    origin: &'o Origin,
    path: String,
    problems: Vec<Problem>,
}

impl<'o> Checker<'o> {
    /// Begins at `spec`; the name is checked for all kinds alike.
    fn new<S>(kind: Kind, object: &'o Object<S>) -> Self {
        let reference = ObjectRef::new(kind, object.meta.namespace.clone(), object.meta.name.clone());
        let mut checker = Self { object: reference, origin: &object.origin, path: "metadata".to_owned(), problems: Vec::new() };
        let name = &object.meta.name;
        checker.check("name", if kind == Kind::Gateway { grammar::dns_label(name) } else { grammar::subdomain(name) });
        checker.check("namespace", grammar::dns_label(&object.meta.namespace));
        checker.path = "spec".to_owned();
        checker.annotations(annotations::wrong(kind, &object.meta.annotations));
        checker
    }

    fn report(&mut self, severity: Severity, code: &'static str, field: &str, message: impl Into<String>) {
        let length = self.path.len();
        if !field.is_empty() {
            push_key(&mut self.path, field);
        }
        self.problems.push(Problem::new(severity, code, message).of(self.object.clone(), self.origin).at(self.path.as_str()));
        self.path.truncate(length);
    }

    /// A broken rule of `field`; "" is the place itself.
    fn error(&mut self, field: &str, message: impl Into<String>) {
        self.report(Severity::Error, "IST0106", field, message);
    }

    /// Accepted, with a warning.
    fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.report(Severity::Warning, "IST0133", field, message);
    }

    /// A field that has a successor.
    fn deprecated(&mut self, field: &str, message: impl Into<String>) {
        self.report(Severity::Warning, "IST0002", field, message);
    }

    /// Reports a verdict about `field`.
    fn check(&mut self, field: &str, verdict: Verdict) {
        if let Err(message) = verdict {
            self.error(field, message);
        }
    }

    /// Steps into a field.
    fn at(&mut self, field: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        push_key(&mut self.path, field);
        look(self);
        self.path.truncate(length);
    }

    /// Steps into a field that may be absent.
    fn some<T>(&mut self, field: &str, value: Option<&T>, look: impl FnOnce(&mut Self, &T)) {
        if let Some(value) = value {
            self.at(field, |c| look(c, value));
        }
    }

    /// Steps into every entry of a list.
    fn each<'t, T>(&mut self, field: &str, items: &'t [T], mut look: impl FnMut(&mut Self, &'t T)) {
        for (i, item) in items.iter().enumerate() {
            self.nth(field, i, |c| look(c, item));
        }
    }

    /// Steps into one entry of a list.
    fn nth(&mut self, field: &str, i: usize, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        push_key(&mut self.path, field);
        // Writing to a String cannot fail.
        let _ = write!(self.path, "[{i}]");
        look(self);
        self.path.truncate(length);
    }

    /// Steps into every value of a mapping.
    fn entries<'t, K: AsRef<str> + 't, V: 't>(
        &mut self,
        field: &str,
        map: impl IntoIterator<Item = (&'t K, &'t V)>,
        mut look: impl FnMut(&mut Self, &'t str, &'t V),
    ) {
        for (key, value) in map {
            self.at(field, |c| c.at(key.as_ref(), |c| look(c, key.as_ref(), value)));
        }
    }

    /// At least one millisecond, and whole ones (contract 1.2).
    fn duration(&mut self, field: &str, value: Option<Duration>) {
        self.check(field, value.map_or(Ok(()), grammar::duration));
    }

    /// At most `most` entries [C].
    fn at_most(&mut self, field: &str, length: usize, most: usize) {
        if length > most {
            self.error(field, format!("expected at most {most} entries, found {length}"));
        }
    }

    /// Labels as Kubernetes writes them.
    fn labels(&mut self, field: &str, labels: &Labels) {
        self.entries(field, labels, |c, key, value| c.check("", grammar::label(key, value)));
    }

    /// A workload selector: no empty keys and no wildcards; without labels it selects everything [W].
    fn selector(&mut self, labels_field: &str, labels: &Labels) {
        if labels.is_empty() {
            self.warning("", "the selector has no labels: it selects every workload of its namespace");
        }
        self.entries(labels_field, labels, |c, key, value| {
            if key.is_empty() || key.contains('*') || value.contains('*') {
                c.error("", format!("expected a label without wildcards, found {key:?}: {value:?}"));
            }
        });
    }

    /// Annotations that are without effect, with the reasons.
    fn annotations<'t>(&mut self, wrong: impl Iterator<Item = (&'t str, String)>) {
        let place = std::mem::replace(&mut self.path, "metadata.annotations".to_owned());
        for (key, reason) in wrong {
            self.report(Severity::Warning, "ISM0306", key, format!("the annotation is without effect: {reason}"));
        }
        self.path = place;
    }

    /// `exportTo` (contract 1.2). `nobody` says whether `~` may stand there.
    fn export_to(&mut self, export_to: &[String], nobody: bool) {
        let namespace = self.object.namespace.clone();
        let resolved = |item: &str| if item == "." { namespace.to_string() } else { item.to_owned() };
        self.each("exportTo", export_to, |c, item| match item.as_str() {
            "*" | "~" if export_to.len() > 1 => c.error("", format!("{item:?} must be the only entry")),
            "~" if !nobody => c.error("", "only a ServiceEntry may be exported to nobody"),
            "*" | "." | "~" => {}
            name => c.check("", grammar::dns_label(name)),
        });
        for (i, item) in export_to.iter().enumerate() {
            if export_to[..i].iter().any(|earlier| resolved(earlier) == resolved(item)) {
                self.nth("exportTo", i, |c| c.error("", format!("{item:?} is exported to twice")));
            }
        }
    }
}

#[cfg(test)]
mod tests;
