//! The text of one file to objects and problems.
//!
//! YAML with any number of documents, or JSON; lists are taken apart. Each document stands for itself: what is wrong
//! with one never stops the others. Istio's kinds are read strictly (an unknown field refuses the object, IST0106),
//! Kubernetes' kinds as far as we use them, others are named only.

mod document;
mod envelope;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::decode::{Decoding, Misfit};
use crate::istio::WorkloadEntry;
use crate::kinds::{Fate, fate};
use crate::kubernetes::{self, Wire};
use crate::locate::{Node, Tree, trees};
use crate::name::ClusterId;
use crate::object::{Kind, Meta, Object, ObjectRef, Origin, Spans, Spot};
use crate::problem::{Problem, Severity};
pub use document::{Bystander, Document};
use envelope::{EntryStatus, Envelope, Metadata, identity};

/// A file with more bytes is refused, best before it is read.
pub const MAX_FILE: u64 = 64 << 20;
/// So many problems of one file are told; a file that is no configuration at all has no use for more.
const MAX_PROBLEMS: usize = 1000;

/// What one file holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The objects that could be read, in the file's order.
    pub documents: Vec<Document>,
    /// What is wrong; every entry refuses its object or its document.
    pub problems: Vec<Problem>,
    /// Objects that stand in the file and could not be read: their last good version stays in force.
    pub refused: Vec<ObjectRef>,
    /// Documents of which not even the identity could be read: nothing can be said to have left this file.
    pub unreadable: usize,
}

/// Reads one file's bytes. `cluster` (empty for none) and `file` (as shown to people) become part of every origin.
pub fn parse(bytes: &[u8], cluster: &ClusterId, file: &Arc<str>) -> Parsed {
    let mut reader = Reader { cluster, file, position: 0, parsed: Parsed::default(), untold: 0 };
    if bytes.len() as u64 > MAX_FILE {
        reader.unreadable(Spot::default(), "ISM0101", format!("the file has {} MiB; at most {} MiB are read", bytes.len() >> 20, MAX_FILE >> 20));
        return reader.parsed;
    }
    if let Some(nul) = bytes.iter().position(|b| *b == 0) {
        // What a crash leaves of a file that was being written: read as text it would be an empty document.
        let line = bytes[..nul].iter().filter(|b| **b == b'\n').count() as u32 + 1;
        reader.unreadable(Spot { line, column: 1 }, "ISM0101", "a NUL byte: not text");
        return reader.parsed;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => reader.text(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() as u32 + 1;
            reader.unreadable(Spot { line, column: 1 }, "ISM0101", "not UTF-8 text");
        }
    }
    reader.parsed
}

/// Reads one object of a known type from JSON, as API servers give it: their lists name the type once for all items.
pub fn parse_object(json: &str, api_version: &str, kind: &str, cluster: &ClusterId) -> Parsed {
    let file = Arc::default();
    let mut reader = Reader { cluster, file: &file, position: 0, parsed: Parsed::default(), untold: 0 };
    match serde_json::from_str::<Node<'_>>(json) {
        Ok(node) => reader.object(&node, api_version, kind),
        Err(error) => reader.unreadable(Spot::default(), "ISM0101", format!("not an object in JSON: {error}")),
    }
    reader.parsed
}

/// True for a line that ends one document and begins the next.
fn separates(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// True where a document says something beside comments and directives.
fn says_something(chunk: &str) -> bool {
    chunk.lines().any(|l| !l.trim().is_empty() && !l.starts_with(['#', '%']) && l.trim() != "---")
}

struct Reader<'f> {
    cluster: &'f ClusterId,
    file: &'f Arc<str>,
    position: u32,
    parsed: Parsed,
    /// Problems beyond those that are told.
    untold: usize,
}

impl Reader<'_> {
    /// Reads the documents of a file: the text between lines that begin with `---`.
    ///
    /// YAML ends every construct there, so a document that cannot be read costs no other one.
    fn text(&mut self, text: &str) {
        let (mut start, mut first, mut offset) = (0, 1u32, 0);
        for (line, number) in text.split_inclusive('\n').zip(1u32..) {
            if separates(line) {
                self.chunk(&text[start..offset], first);
                (start, first) = (offset, number);
            }
            offset += line.len();
        }
        self.chunk(&text[start..], first);
        if self.untold > 0 {
            let problem = Problem::new(Severity::Error, "ISM0101", format!("{} more problems in this file", self.untold));
            self.parsed.problems.push(Problem { origin: self.origin(Spot::default()), ..problem });
        }
    }

    fn chunk(&mut self, chunk: &str, first_line: u32) {
        if !says_something(chunk) {
            return;
        }
        let (nodes, failed) = trees(chunk, first_line);
        for node in &nodes {
            self.document(node, None);
        }
        if let Some(failed) = failed {
            self.unreadable(failed.spot, "ISM0101", failed.message);
            self.position += 1;
        }
    }

    fn tell(&mut self, problem: Problem) {
        if self.parsed.problems.len() < MAX_PROBLEMS { self.parsed.problems.push(problem) } else { self.untold += 1 }
    }

    fn origin(&self, start: Spot) -> Origin {
        Origin { cluster: self.cluster.clone(), file: self.file.clone(), position: self.position, start, spans: None }
    }

    fn unreadable(&mut self, spot: Spot, code: &'static str, message: impl Into<String>) {
        let origin = self.origin(spot);
        self.tell(Problem { origin, ..Problem::new(Severity::Error, code, message) });
        self.parsed.unreadable += 1;
    }

    /// Reads one object or a list of them. Items of a typed list may leave their type to the list.
    fn document(&mut self, node: &Node<'_>, list: Option<(&str, &str)>) {
        let text = |key| node.get(key).and_then(Node::text);
        let (api_version, kind) = (text("apiVersion").or(list.map(|l| l.0)), text("kind").or(list.map(|l| l.1)));
        let (Some(api_version), Some(kind)) = (api_version, kind) else {
            let message =
                if matches!(node.tree, Tree::Map(_)) { "not a Kubernetes object: it needs apiVersion and kind" } else { "not a Kubernetes object" };
            self.unreadable(node.spot, "ISM0102", message);
            self.position += 1;
            return;
        };
        if let (Some(item_kind), Some(Node { tree: Tree::List(items), .. })) = (kind.strip_suffix("List"), node.get("items")) {
            let of_items = Some((api_version, item_kind)).filter(|_| !item_kind.is_empty());
            for item in items {
                self.document(item, of_items);
            }
            return;
        }
        self.object(node, api_version, kind);
        self.position += 1;
    }

    fn object(&mut self, node: &Node<'_>, api_version: &str, kind: &str) {
        match fate(api_version, kind) {
            Fate::Istio(kind) => self.istio(node, kind),
            Fate::Kubernetes(kind) => self.kubernetes(node, kind),
            Fate::Unenforced => self.bystander(node, api_version, kind, Document::Unenforced),
            Fate::NotUsed => self.bystander(node, api_version, kind, Document::NotUsed),
            Fate::Refused { message, hint } => {
                let origin = self.origin(node.spot);
                self.tell(Problem { origin, hint, ..Problem::new(Severity::Error, "ISM0103", message) });
                self.parsed.unreadable += 1;
            }
        }
    }

    fn istio(&mut self, node: &Node<'_>, kind: Kind) {
        match kind {
            Kind::Gateway => self.strict(node, kind, |o| Document::Gateway(Arc::new(o))),
            Kind::VirtualService => self.strict(node, kind, |o| Document::VirtualService(Arc::new(o))),
            Kind::DestinationRule => self.strict(node, kind, |o| Document::DestinationRule(Arc::new(o))),
            Kind::ServiceEntry => self.strict(node, kind, |o| Document::ServiceEntry(Arc::new(o))),
            Kind::WorkloadEntry => {
                let healthy = node.get("status").and_then(|status| Decoding::lenient().read::<EntryStatus>(status, "status"));
                let healthy = healthy.and_then(|status| kubernetes::condition(&status.conditions, "Healthy"));
                self.strict(node, kind, |mut object: Object<WorkloadEntry>| {
                    object.spec.healthy = healthy;
                    Document::WorkloadEntry(Arc::new(object))
                });
            }
            Kind::WorkloadGroup => self.strict(node, kind, |o| Document::WorkloadGroup(Arc::new(o))),
            Kind::EnvoyFilter => self.strict(node, kind, |o| Document::EnvoyFilter(Arc::new(o))),
            Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Node | Kind::Namespace | Kind::Secret => {}
        }
    }

    fn kubernetes(&mut self, node: &Node<'_>, kind: Kind) {
        match kind {
            Kind::Service => self.lenient::<kubernetes::WireService>(node, kind, |o| Document::Service(Arc::new(o))),
            Kind::EndpointSlice => self.lenient::<kubernetes::EndpointSlice>(node, kind, |o| Document::EndpointSlice(Arc::new(o))),
            Kind::Pod => self.lenient::<kubernetes::WirePod>(node, kind, |o| Document::Pod(Arc::new(o))),
            Kind::Node => self.lenient::<kubernetes::WireNode>(node, kind, |o| Document::Node(Arc::new(o))),
            Kind::Namespace => self.lenient::<kubernetes::WireNamespace>(node, kind, |o| Document::Namespace(Arc::new(o))),
            Kind::Secret => self.lenient::<kubernetes::WireSecret>(node, kind, |o| Document::Secret(Arc::new(o))),
            Kind::Gateway
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::ServiceEntry
            | Kind::WorkloadEntry
            | Kind::WorkloadGroup
            | Kind::EnvoyFilter => {}
        }
    }

    fn strict<S: DeserializeOwned>(&mut self, node: &Node<'_>, kind: Kind, wrap: impl FnOnce(Object<S>) -> Document) {
        let mut decoding = if node.spot == Spot::default() { Decoding::strict_without_places() } else { Decoding::strict() };
        let envelope: Option<Envelope<S>> = decoding.read(node, "");
        let mut misfits = std::mem::take(&mut decoding.misfits);
        let origin = Origin { spans: decoding.spans().shared(), ..self.origin(node.spot) };
        let object = envelope.and_then(|envelope| {
            if envelope.spec.is_none() && misfits.is_empty() {
                misfits.push(Misfit::at("spec", "expected a spec, found none"));
            }
            Some((envelope.metadata.read(kind, &mut misfits)?, envelope.spec?))
        });
        self.finish(node, kind, origin, misfits, object, wrap);
    }

    fn lenient<W: Wire>(&mut self, node: &Node<'_>, kind: Kind, wrap: impl FnOnce(Object<W::Object>) -> Document) {
        let mut decoding = Decoding::lenient();
        let object = node.get("metadata").map_or_else(|| Some(Metadata::default()), |metadata| decoding.read(metadata, "metadata"));
        let object = object.and_then(|metadata| Some((metadata, decoding.read::<W>(node, "")?)));
        let mut misfits = decoding.misfits;
        let object = object.and_then(|(metadata, wire)| Some((metadata.read(kind, &mut misfits)?, wire.into_object())));
        let metadata = |path: &str| node.get("metadata")?.get(path.strip_prefix("metadata.")?);
        let spot = |m: &Misfit| if m.spot.line > 0 { m.spot } else { metadata(&m.path).map_or(node.spot, |value| value.spot) };
        let spots = misfits.iter().map(|m| (m.path.as_str().into(), spot(m))).collect();
        let origin = self.origin(node.spot);
        let origin = if misfits.is_empty() { origin } else { Origin { spans: Spans(spots).shared(), ..origin } };
        self.finish(node, kind, origin, misfits, object, wrap);
    }

    fn finish<S>(
        &mut self,
        node: &Node<'_>,
        kind: Kind,
        origin: Origin,
        misfits: Vec<Misfit>,
        object: Option<(Meta, S)>,
        wrap: impl FnOnce(Object<S>) -> Document,
    ) {
        match object {
            Some((meta, spec)) if misfits.is_empty() => self.parsed.documents.push(wrap(Object { meta, spec, origin })),
            _ => {
                let refused = identity(node, kind);
                match &refused {
                    Some(object) => self.parsed.refused.push(object.clone()),
                    None => self.parsed.unreadable += 1,
                }
                for misfit in misfits {
                    let problem = Problem::new(Severity::Error, "IST0106", misfit.message).at(misfit.path);
                    self.tell(Problem { object: refused.clone(), origin: origin.clone(), hint: misfit.hint, ..problem });
                }
            }
        }
    }

    fn bystander(&mut self, node: &Node<'_>, api_version: &str, kind: &str, wrap: fn(Arc<Bystander>) -> Document) {
        let text = |key| node.get("metadata").and_then(|m| m.get(key)).and_then(Node::text).unwrap_or_default();
        let meta = Meta { name: text("name").into(), namespace: text("namespace").into(), ..Meta::default() };
        let bystander = Bystander { api_version: api_version.into(), kind: kind.into(), meta, origin: self.origin(node.spot) };
        self.parsed.documents.push(wrap(Arc::new(bystander)));
    }
}
