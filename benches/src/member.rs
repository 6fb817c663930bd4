//! How long the control thread is busy where a member cluster leaves or joins (`isthmus-benches member [ROUTES SERVICES ENDPOINTS]`): all of
//! it, and the longest that any other change waits, which is the longest piece.
//!
//! The world is the scale run's, told in pages as API servers tell it; the last of the three clusters leaves and joins again.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::compile::Compiler;
use isthmus_discovery::kubernetes::Interner;
use isthmus_discovery::source::{Batch, Event};
use isthmus_discovery::{Registry, Settings};

use crate::memory::{KINDS, PAGE, partition, read};
use crate::scale::CLUSTERS;
use crate::scale::objects::{self, Objects, Size};

/// Services of a piece, as the control thread takes them.
const PIECE: usize = 256;
/// How often the cluster leaves and joins; the middle one is told.
const ROUNDS: usize = 5;

/// Pieces of the control thread's work.
#[derive(Clone, Debug, Default)]
struct Work {
    all: Duration,
    longest: Duration,
    pieces: usize,
}

impl Work {
    fn piece(&mut self, begun: Instant) {
        let took = begun.elapsed();
        self.all += took;
        self.longest = self.longest.max(took);
        self.pieces += 1;
    }
}

/// Prints both.
pub(crate) fn run(size: Size, out: &mut impl Write) -> io::Result<()> {
    let folders: String = (0..CLUSTERS).map(|index| format!("- {{name: c{index}, path: c{index}}}\n")).collect();
    let settings = format!("gateway: {{cluster: c0, locality: r0/r0-1}}\nclusters:\n{folders}");
    let (bootstrap, _) = Bootstrap::parse(&settings, Path::new("isthmus.yaml")).map_err(|problems| io::Error::other(format!("{problems:?}")))?;
    let mut control =
        Control { registry: Registry::new(Settings::new(&bootstrap, Arc::default())), compiler: Compiler::new(1), interner: Interner::default() };
    let clusters: Vec<Objects> = (0..CLUSTERS).map(|index| objects::cluster(index, size)).collect();
    for (index, cluster) in clusters.iter().enumerate() {
        control.join(index, cluster)?;
    }
    let last = CLUSTERS - 1;
    let (mut leaving, mut joining) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut work = Work::default();
        let begun = Instant::now();
        control.registry.apply(Event::Removed(partition(last, KINDS[0].0).source));
        work.piece(begun);
        control.catch_up(&mut work);
        leaving.push(work);
        let secret = "istio-system/member".into();
        control.registry.apply(Event::Joined(partition(last, KINDS[0].0).source.0, secret));
        joining.push(control.join(last, &clusters[last])?);
    }
    let begun = Instant::now();
    let copy = control.registry.clone();
    let copied = begun.elapsed();
    drop(copy);
    writeln!(out, "{CLUSTERS} clusters, {} services, {} endpoints; one cluster", size.services, size.endpoints())?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for (name, mut works) in [("leaves", leaving), ("joins", joining)] {
        works.sort_by_key(|work| work.longest);
        let Work { all, longest, pieces } = works[works.len() / 2].clone();
        writeln!(out, "{name}: {:.1} ms in {pieces} pieces, another change waits {:.1} ms at most", ms(all), ms(longest))?;
    }
    writeln!(out, "a copy of all that is known, for a check: {:.1} ms", ms(copied))
}

struct Control {
    registry: Registry,
    compiler: Compiler,
    interner: Interner,
}

impl Control {
    /// Lists a cluster, page by page. Reading is its source's work.
    fn join(&mut self, index: usize, objects: &Objects) -> io::Result<Work> {
        let mut work = Work::default();
        for (kind, ..) in KINDS {
            self.registry.apply(Event::Init(partition(index, kind)));
        }
        for (kind, plural, api_version) in KINDS {
            let texts: Vec<&str> = objects.iter().filter(|(of, ..)| *of == plural).map(|(.., text)| &**text).collect();
            for page in texts.chunks(PAGE) {
                let batch = read(page, partition(index, kind), api_version, &mut self.interner)?;
                self.take(batch, &mut work);
            }
            self.take(vec![Event::InitDone(partition(index, kind))], &mut work);
        }
        self.catch_up(&mut work);
        Ok(work)
    }

    fn take(&mut self, batch: Batch, work: &mut Work) {
        let begun = Instant::now();
        self.registry.apply_all(batch);
        self.publish();
        work.piece(begun);
    }

    /// What the loop does once nothing else waits.
    fn catch_up(&mut self, work: &mut Work) {
        while self.registry.is_behind() {
            let begun = Instant::now();
            self.publish();
            work.piece(begun);
        }
    }

    fn publish(&mut self) {
        let (world, changes) = self.registry.world_so_far(PIECE);
        if !changes.is_empty() {
            let plan = self.compiler.compile(&world, &changes);
            plan.publish_views();
        }
    }
}
