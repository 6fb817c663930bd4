//! What a gateway allocates for three full clusters: as their objects are listed, kind by kind, then joined and compiled, and what each
//! room gives back as it is let go (`isthmus-benches memory [ROUTES SERVICES ENDPOINTS]`).
//!
//! Bytes that are asked of the allocator are counted, not pages: so the figures are the same on every run and in every profile. What goes
//! when a room is let go is what nobody else shares with it.

pub(crate) mod files;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::name::ClusterId;
use isthmus_config::object::Kind;
use isthmus_config::parse::parse_object;
use isthmus_core::compile::Compiler;
use isthmus_core::model::Changes;
use isthmus_discovery::kubernetes::{Interner, fact};
use isthmus_discovery::source::{Batch, Event, Partition, SourceId, Via};
use isthmus_discovery::{Registry, Settings};

use crate::ALLOCATOR;
use crate::scale::CLUSTERS;
use crate::scale::objects::{self, Objects, Size};

/// Objects of a page, as of a list.
pub(crate) const PAGE: usize = 200;
/// Every kind of the scale run, its plural and its version.
pub(crate) const KINDS: [(Kind, &str, &str); 7] = [
    (Kind::Namespace, "namespaces", "v1"),
    (Kind::Node, "nodes", "v1"),
    (Kind::Service, "services", "v1"),
    (Kind::EndpointSlice, "endpointslices", "discovery.k8s.io/v1"),
    (Kind::Pod, "pods", "v1"),
    (Kind::Gateway, "gateways", "networking.istio.io/v1"),
    (Kind::VirtualService, "virtualservices", "networking.istio.io/v1"),
];

/// What one step has left behind.
#[derive(Clone, Debug)]
struct Stage {
    name: String,
    /// How many objects it took in.
    objects: usize,
    /// Bytes more than before; fewer where something was let go.
    bytes: isize,
    /// The most that was ever held until its end.
    peak: usize,
}

/// Prints a line for each stage.
pub(crate) fn run(size: Size, out: &mut impl Write) -> io::Result<()> {
    let endpoints = size.endpoints();
    writeln!(out, "{CLUSTERS} clusters, {} routes, {} services, {endpoints} endpoints", size.routes, size.services)?;
    writeln!(out, "{:<28} {:>8} {:>9} {:>9} {:>11} {:>9}", "", "objects", "MB", "B each", "B/endpoint", "peak MB")?;
    let mb = |bytes: f64| bytes / f64::from(1 << 20);
    let mut sum = 0;
    for stage in measure(size)? {
        let each = if stage.objects == 0 { String::new() } else { (stage.bytes / stage.objects as isize).to_string() };
        let objects = if stage.objects == 0 { String::new() } else { stage.objects.to_string() };
        sum += stage.bytes;
        writeln!(
            out,
            "{:<28} {objects:>8} {:>9.2} {each:>9} {:>11} {:>9.1}",
            stage.name,
            mb(stage.bytes as f64),
            stage.bytes / endpoints as isize,
            mb(stage.peak as f64)
        )?;
    }
    writeln!(out, "{:<28} {:>8} {:>9.2}", "left", "", mb(sum as f64))
}

/// Runs everything once.
fn measure(size: Size) -> io::Result<Vec<Stage>> {
    let clusters: Vec<Objects> = (0..CLUSTERS).map(|index| objects::cluster(index, size)).collect();
    let folders: String = (0..CLUSTERS).map(|index| format!("- {{name: c{index}, path: c{index}}}\n")).collect();
    let settings = format!("gateway: {{cluster: c0, locality: r0/r0-1}}\nclusters:\n{folders}");
    let (bootstrap, _) = Bootstrap::parse(&settings, Path::new("isthmus.yaml")).map_err(|problems| io::Error::other(format!("{problems:?}")))?;
    let mut account = Account::begin();
    let mut registry = Registry::new(Settings::new(&bootstrap, Arc::default()));
    let mut interner = Interner::default();
    for (index, (kind, ..)) in (0..CLUSTERS).flat_map(|index| KINDS.iter().map(move |kind| (index, kind))) {
        registry.apply(Event::Init(partition(index, *kind)));
    }
    account.stage("nothing", 0);
    for (kind, plural, api_version) in KINDS {
        let mut count = 0;
        for (index, objects) in clusters.iter().enumerate() {
            let texts: Vec<&str> = objects.iter().filter(|(of, ..)| *of == plural).map(|(.., text)| &**text).collect();
            count += texts.len();
            for page in texts.chunks(PAGE) {
                registry.apply_all(read(page, partition(index, kind), api_version, &mut interner)?);
            }
            registry.apply(Event::InitDone(partition(index, kind)));
        }
        account.stage(&format!("list {plural}"), count);
    }
    let (world, _) = registry.world();
    account.stage("join", world.catalog.endpoints.values().map(|list| list.len()).sum());
    let mut compiler = Compiler::new(1);
    let plan = compiler.compile(&world, &Changes::everything());
    plan.publish_views();
    account.stage("compile", size.routes);
    drop(plan);
    account.stage("let go: the plan", 0);
    drop(compiler);
    account.stage("let go: all compiled", 0);
    drop(interner);
    account.stage("let go: names of sources", 0);
    drop(registry);
    account.stage("let go: the registry", 0);
    drop(world);
    account.stage("let go: the world", 0);
    Ok(account.stages)
}

pub(crate) fn partition(index: usize, kind: Kind) -> Partition {
    Partition { source: SourceId(cluster(index), Via::Server), kind, generation: 1 }
}

fn cluster(index: usize) -> ClusterId {
    ClusterId::new(format!("c{index}"))
}

/// One page of objects as a source tells it.
pub(crate) fn read(page: &[&str], partition: Partition, api_version: &str, interner: &mut Interner) -> io::Result<Batch> {
    let mut batch = Batch::new();
    for text in page {
        let parsed = parse_object(text, api_version, partition.kind.as_str(), &partition.source.0);
        if !parsed.problems.is_empty() {
            return Err(io::Error::other(format!("{:?}", parsed.problems)));
        }
        let told = parsed.documents.into_iter().filter_map(|document| fact(document, interner));
        batch.extend(told.map(|fact| Event::Apply(partition.clone(), fact)));
    }
    Ok(batch)
}

/// Bytes held, from a beginning on.
struct Account {
    begun: usize,
    last: usize,
    stages: Vec<Stage>,
}

impl Account {
    fn begin() -> Self {
        // What is noted here is noted without asking for more.
        let stages = Vec::with_capacity(32);
        let begun = ALLOCATOR.allocated();
        Self { begun, last: begun, stages }
    }

    fn stage(&mut self, name: &str, objects: usize) {
        let (now, peak) = (ALLOCATOR.allocated(), ALLOCATOR.max_allocated());
        let bytes = now as isize - self.last as isize;
        self.stages.push(Stage { name: name.to_owned(), objects, bytes, peak: peak.saturating_sub(self.begun) });
        self.last = ALLOCATOR.allocated();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that an object may take where it is listed, joined and compiled: what it takes, and a tenth more. All that this process
    /// holds is counted, so no other test may stand beside this one.
    #[test]
    fn what_is_kept_of_an_object_stays_small() {
        let size = Size { routes: 300, services: 600, each: 5 };
        let stages = measure(size).expect("objects that can be read");
        let taken = |names: &[&str]| stages.iter().filter(|stage| names.contains(&&*stage.name)).map(|stage| stage.bytes).sum::<isize>();
        for (names, of, count, most) in [
            (&["list services"][..], "Service of a cluster", 2 * size.services, 335),
            (&["list endpointslices", "list pods"], "endpoint", size.endpoints(), 290),
            (&["list virtualservices"], "VirtualService", size.routes, 1_700),
            (&["join"], "endpoint", size.endpoints(), 145),
            (&["compile"], "route and its twenty endpoints", size.routes, 2_800),
        ] {
            let each = taken(names) / count as isize;
            assert!((1..=most).contains(&each), "{names:?}: {each} bytes for each {of}, expected at most {most}");
        }
        let left: isize = stages.iter().map(|stage| stage.bytes).sum();
        assert!(left < 4096, "{left} bytes are held for good: more than what is made once for a process");
    }
}
