//! Compile time and memory: from nothing, for one changed route and for one changed endpoint, at 100, 1,000 and 10,000 routes.
//!
//! The world goes the way of production: text, objects, facts, registry, compiler. Only what the control thread does is measured; files and
//! sockets are not. Run it built with `--release` on a quiet machine (`make bench ARGS="--runs compile"`).

mod member;
mod memory;
mod scale;
mod world;

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use isthmus_core::compile::{Compiler, Counters};
use isthmus_core::decide::{Found, find};
use isthmus_core::model::Changes;
use isthmus_core::route::{Head, Scratch};
use isthmus_core::snapshot::Pin;

use scale::objects::Size;
use tikv_jemallocator::Jemalloc;
use world::{Shape, Source};

/// The allocator of production, which counts what is held.
#[global_allocator]
static ALLOCATOR: cap::Cap<Jemalloc> = cap::Cap::new(Jemalloc, usize::MAX);

/// How often each route is looked up.
const LOOKUPS: usize = 100;
/// Changes measured for each figure; the middle one is told.
const ROUNDS: usize = 31;

/// Every shape, in the order of the tables.
const SHAPES: [Shape; 4] = [Shape::HostEach, Shape::Shared, Shape::OneHost, Shape::Regexes];

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut asked = std::env::args().skip(1).peekable();
    if asked.next_if(|first| first == "scale").is_some() {
        return scale::run(size(asked), &mut out);
    }
    if asked.next_if(|first| first == "member").is_some() {
        return member::run(size(asked), &mut out);
    }
    if asked.next_if(|first| first == "memory").is_some() {
        return memory::run(size(asked), &mut out);
    }
    if let (Some(shape), Some(routes)) = (asked.next(), asked.next().and_then(|r| r.parse().ok())) {
        if shape == "files" {
            return writeln!(out, "{}", memory::files::measure(routes, asked.next().and_then(|n| n.parse().ok()).unwrap_or(2 * world::ENDPOINTS))?);
        }
        let shape = SHAPES.into_iter().find(|known| shape == format!("{known:?}")).unwrap_or(Shape::HostEach);
        return writeln!(out, "{}", measure(shape, routes));
    }
    writeln!(
        out,
        "compile: ms, of {ROUNDS} changes the middle one and the longest; `ran` is what one change ran again: listeners, virtual hosts, fragments, backends"
    )?;
    for shape in SHAPES {
        writeln!(out, "\n{}", shape.title())?;
        writeln!(
            out,
            "  {:>7} {:>10} {:>10} {:>10} {:>8} {:>8} | {:>14} {:>14} {:>14} {:>9} | {:>14} {:>14} {:>14} {:>9}",
            "routes",
            "endpoints",
            "read+join",
            "compile",
            "MB",
            "find: ns",
            "route: read",
            "join",
            "compile",
            "ran",
            "endpoint: read",
            "join",
            "compile",
            "ran"
        )?;
        for routes in [100, 1_000, 10_000] {
            // In a process of its own, so that memory is this world's.
            let name = format!("{shape:?}");
            let line = Command::new(std::env::current_exe()?).args([&name, &routes.to_string()]).stderr(Stdio::inherit()).output()?;
            out.write_all(&line.stdout)?;
        }
    }
    Ok(())
}

/// How many routes, services and endpoints are asked for.
fn size(asked: impl Iterator<Item = String>) -> Size {
    Size::asked(&asked.filter_map(|n| n.parse().ok()).collect::<Vec<usize>>())
}

/// One line of the table.
fn measure(shape: Shape, routes: usize) -> String {
    let before = resident();
    let (mut source, texts) = (Source::new(), shape.texts(routes));
    let endpoints = routes * world::ENDPOINTS;
    let start = Instant::now();
    source.list(&texts);
    let (world, _) = source.registry.world();
    let read = start.elapsed();
    drop(texts);
    let mut compiler = Compiler::new(1);
    let start = Instant::now();
    let plan = compiler.compile(&world, &Changes::everything());
    plan.publish_views();
    let whole = start.elapsed();
    drop((plan, world));
    let memory = resident().saturating_sub(before) as f64 / f64::from(1 << 20);
    let found = lookup(shape, routes, &compiler);
    let route = change(&mut source, &mut compiler, |n| shape.changed_route(routes, n));
    let endpoint = change(&mut source, &mut compiler, |n| shape.changed_endpoint(routes, n));
    format!("  {routes:>7} {endpoints:>10} {:>10} {:>10} {memory:>8.1} {found:>8} | {route} | {endpoint}", ms(read), ms(whole))
}

/// Nanoseconds to find the route of a request, each of a thousand routes in turn.
fn lookup(shape: Shape, routes: usize, compiler: &Compiler) -> u128 {
    let pin = Arc::new(Pin { snapshot: compiler.snapshot().cloned().expect("it was compiled") });
    let key = pin.snapshot.listeners.first().expect("the listener").key.clone();
    let step = (routes / 1_000).max(1);
    let asked: Vec<(String, String)> = (0..routes).step_by(step).map(|route| shape.request(route)).collect();
    let (mut scratch, headers) = (Scratch::default(), HeaderMap::new());
    let start = Instant::now();
    for _ in 0..LOOKUPS {
        for (host, path) in &asked {
            let head = Head { method: "GET", scheme: "http", authority: host, path, query: None, headers: &headers };
            assert!(matches!(find(&pin, &key, &head, &mut scratch), Found::Route(_)), "{host}{path} has a route");
        }
    }
    start.elapsed().as_nanos() / (LOOKUPS * asked.len()) as u128
}

/// Applies one changed object after the other; the figures of reading, joining and compiling, and how much ran.
fn change(source: &mut Source, compiler: &mut Compiler, text: impl Fn(usize) -> String) -> String {
    let (mut reads, mut joins, mut compiles, mut ran) = (Vec::new(), Vec::new(), Vec::new(), Counters::default());
    for n in 0..ROUNDS {
        let text = text(n);
        let start = Instant::now();
        let facts = source.read(&text);
        reads.push(start.elapsed());
        let start = Instant::now();
        source.tell(facts);
        let (world, changes) = source.registry.world();
        joins.push(start.elapsed());
        let start = Instant::now();
        let plan = compiler.compile(&world, &changes);
        plan.publish_views();
        compiles.push(start.elapsed());
        ran = plan.counters;
    }
    let ran = format!("{} {} {} {}", ran.listeners_run, ran.vhosts_run, ran.fragments_run, ran.backends_run);
    format!("{:>14} {:>14} {:>14} {ran:>9}", middle(reads), middle(joins), middle(compiles))
}

fn middle(mut times: Vec<Duration>) -> String {
    times.sort();
    let longest = times.last().copied().unwrap_or_default();
    format!("{} {}", ms(times[times.len() / 2]), ms(longest))
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// Resident bytes of this process.
pub(crate) fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|t| t.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or_default() * 4096
}
