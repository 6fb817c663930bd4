//! From the world to what is in force: listeners, virtual hosts, routes, backends, and the report of all that was left out.
//!
//! Ordered passes, each over the records of the one before: rules (`lookup`, `merge`), hosts (`hosts`, `resolve`), listeners, binding
//! (`bind`), fragments (`delegate`, `routes`, `tcp`), virtual hosts (`vhosts`). A [`Compiler`] keeps every record with what it
//! read, so a batch of changes runs again only what read a changed thing: an endpoint its own backends, a VirtualService
//! its own virtual hosts. Records that did not change keep their `Arc`.
//!
//! Pure: the world, the changes and a seed for the turns of ROUND_ROBIN go in, a [`Plan`] comes out. Nothing is published here.

mod alike;
mod bind;
mod delegate;
mod few;
mod fragments;
mod hosts;
mod later;
mod listeners;
mod lookup;
mod merge;
mod passes;
mod report;
mod resolve;
mod routes;
mod tcp;
mod usage;
mod vhosts;

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::object::ObjectRef;
use isthmus_config::problem::Problem;

use crate::balance::setting::Stand;
use crate::balance::{Slot, View};
use crate::model::{Changes, NamespacedName, Service, World};
use crate::route::Patterns;
use crate::snapshot::{ConnectionOptions, ListenKey, Listener, Snapshot};

use bind::Bound;
use few::Few;
use fragments::{Fragment, FragmentKey};
use hosts::Hosts;
use listeners::Plans;
use vhosts::Nodes;

pub use bind::gateway_name;
pub use lookup::{Rules, qualify};
pub use merge::Rule;
pub use report::{Report, code};
pub use resolve::{Effective, outlier};
pub use usage::{Unbound, Usage, Used};

/// What compiling yields. Publish the views first, then the snapshot.
#[derive(Debug)]
pub struct Plan {
    /// The routes, where any route or listener changed.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Backends whose endpoints or policy changed, with what their slots show from now on.
    pub views: Vec<(Arc<Slot>, Arc<View>)>,
    /// Backends whose new endpoints warm up; ages are the caller's to tell (D-32).
    pub warming: Vec<Arc<Slot>>,
    /// Everything that was left out, and why.
    pub report: Arc<Report>,
    /// How much was run.
    pub counters: Counters,
}

impl Plan {
    /// Puts the views into their slots; the snapshot is the caller's to swap.
    pub fn publish_views(&self) {
        for (slot, view) in &self.views {
            slot.show(view.clone());
        }
    }
}

/// How many records one compilation ran again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Listeners made.
    pub listeners_run: u64,
    /// Virtual hosts made.
    pub vhosts_run: u64,
    /// Fragments made: a VirtualService as one server port sees it.
    pub fragments_run: u64,
    /// Backends whose view was made.
    pub backends_run: u64,
    /// VirtualServices bound.
    pub bound_run: u64,
}

/// Who offers a byte stream's route: the server's position, and the VirtualService.
type Entry = (usize, NamespacedName);

/// Everything compiled so far, record by record.
#[derive(Debug)]
pub struct Compiler {
    rules: Rules,
    table: Hosts<Arc<FragmentKey>>,
    plans: Plans,
    options: Arc<ConnectionOptions>,
    patterns: Patterns,
    bound: BTreeMap<NamespacedName, Bound>,
    fragments: BTreeMap<Arc<FragmentKey>, Arc<Fragment>>,
    /// Fragments by the delegates that they read.
    readers: BTreeMap<NamespacedName, Few<Arc<FragmentKey>>>,
    /// Who offers a byte stream's route, by listener.
    streams: BTreeMap<ListenKey, Few<Entry>>,
    nodes: Nodes,
    listeners: BTreeMap<ListenKey, Arc<Listener>>,
    /// What is asked for and not in force yet, by object.
    later: BTreeMap<ObjectRef, Vec<Problem>>,
    snapshot: Option<Arc<Snapshot>>,
    report: Arc<Report>,
}

impl Compiler {
    /// Nothing compiled. The turns of ROUND_ROBIN begin where `seed` says.
    pub fn new(seed: u64) -> Self {
        Self {
            rules: Rules::default(),
            table: Hosts::new(seed),
            plans: Plans::default(),
            options: Arc::default(),
            patterns: Patterns::default(),
            bound: BTreeMap::new(),
            fragments: BTreeMap::new(),
            readers: BTreeMap::new(),
            streams: BTreeMap::new(),
            nodes: Nodes::new(),
            listeners: BTreeMap::new(),
            later: BTreeMap::new(),
            snapshot: None,
            report: Arc::default(),
        }
    }

    /// Takes changes in. The first call takes everything in, whatever `changes` says.
    pub fn compile(&mut self, world: &World, changes: &Changes) -> Plan {
        let everything = Changes::everything();
        let changes = if self.snapshot.is_none() { &everything } else { changes };
        let mut pass = passes::Pass::default();
        self.hosts(world, changes, &mut pass);
        self.listeners(world, changes, &mut pass);
        self.callers(world, changes, &mut pass);
        self.bind(world, changes, &mut pass);
        self.fragments(world, &mut pass);
        self.virtual_hosts(&mut pass);
        self.fronts(world, &mut pass);
        self.finish(world, changes, pass)
    }

    /// The snapshot compiled last.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }
    /// The report of the compilation before.
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }
    /// Every backend that routes send to, by key.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        let backends = self.table.records.values().flat_map(|r| r.backends.iter());
        let mut slots: Vec<Arc<Slot>> = backends.map(|b| b.slot.clone()).collect();
        slots.sort_by(|a, b| a.key.cmp(&b.key));
        slots
    }
    /// The view that a backend would have that no route sends to; `None` where there is no such port or subset.
    pub fn supposed(
        &self,
        world: &World,
        service: &Arc<Service>,
        rule: Option<&Arc<Rule>>,
        stand: &Arc<Stand>,
        backend: (u16, &str),
    ) -> Option<View> {
        self.table.supposed(world, service, rule, stand, backend)
    }
    /// The DestinationRule lookup in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}
