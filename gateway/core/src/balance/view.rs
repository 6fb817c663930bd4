//! The endpoints of one backend now, with the tables that make a pick O(1).
//!
//! [`view`] is the one function that makes a [`View`], from endpoints, policy and the state of health that the endpoints carry; compile
//! calls it for new facts, the health loop for new health. Endpoints are arranged by priority and locality (`locality`), priorities
//! share the traffic by health (`priority`), and each draw is from one [`Pool`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use isthmus_config::name::Locality;

use super::level::{Level, by_health};
use super::locality::{Arranged, arrange};
use super::member::Member;
use super::outlier::OutlierPolicy;
use super::policy::{BackendPolicy, Lb};
use super::pool::{Pool, Positions};
use super::priority::{Census, shares, with_reserve};
use super::setting::{Setting, Stand};
use super::slot::EndpointState;
use super::zones::zone_shares;
use crate::model::{Address, Endpoint, Health, Passage};

/// Where the endpoints of a backend stand in line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// The locality setting that applies (L-20).
    pub setting: Arc<Setting>,
    /// Where the gateway stands.
    pub stand: Arc<Stand>,
    /// When an endpoint falls out of line, where it can.
    pub outlier: Option<Arc<OutlierPolicy>>,
}

/// The endpoints and tables of one backend.
#[derive(Debug)]
pub struct View {
    /// The policy in force; backends of which the same is asked share it.
    pub policy: Arc<BackendPolicy>,
    /// Where the endpoints stand in line, shared likewise.
    pub line: Arc<Line>,
    /// Every endpoint, in the order of the catalog.
    pub members: Box<[Member]>,
    /// By priority, 0 first.
    pub levels: Box<[Level]>,
    /// Endpoints that have left, for as long as a request or an ejection holds them: one that returns finds its state.
    parted: Box<[Parted]>,
    /// What is not among the members since nothing leads to it, in words (M-37).
    pub left_out: Box<[String]>,
}

/// An endpoint that has left, where anybody still holds it.
#[derive(Clone, Debug)]
struct Parted {
    endpoint: Weak<Endpoint>,
    state: Weak<EndpointState>,
}

impl Parted {
    fn of(member: &Member) -> Self {
        Self { endpoint: Arc::downgrade(&member.endpoint), state: Arc::downgrade(&member.state) }
    }
    fn held(&self) -> Option<Member> {
        Some(Member { endpoint: self.endpoint.upgrade()?, state: self.state.upgrade()? })
    }
}

/// Makes the view of a backend. `previous` hands on the state of endpoints and the turns that it shares; turns begin at `seed`.
pub fn view(policy: &Arc<BackendPolicy>, line: &Arc<Line>, endpoints: &[&Arc<Endpoint>], previous: Option<&View>, seed: u64) -> View {
    let parted: Vec<Member> = previous.iter().flat_map(|v| &v.parted).filter_map(Parted::held).collect();
    let before = || previous.iter().flat_map(|v| &v.members).chain(&parted);
    let known: HashMap<(&Address, &str, &str), &Member> = before().map(|m| (identity(&m.endpoint), m)).collect();
    let members: Box<[Member]> = endpoints
        .iter()
        .map(|e| match known.get(&identity(e)) {
            Some(m) if m.endpoint == **e => (*m).clone(),
            Some(m) => Member { endpoint: (*e).clone(), state: m.state.clone() },
            None => Member { endpoint: (*e).clone(), state: Arc::default() },
        })
        .collect();
    if let Some(warm_up) = policy.warm_up {
        let stayed: HashSet<*const EndpointState> = previous.iter().flat_map(|v| &v.members).map(|m| Arc::as_ptr(&m.state)).collect();
        for newcomer in members.iter().filter(|m| !stayed.contains(&Arc::as_ptr(&m.state))) {
            newcomer.state.warm_to(warm_up.share(Duration::ZERO));
        }
    }
    let stays: HashSet<(&Address, &str, &str)> = members.iter().map(|m| identity(&m.endpoint)).collect();
    let parted = before().filter(|m| !stays.contains(&identity(&m.endpoint))).map(Parted::of).collect();
    let mut view = assembled(policy.clone(), line.clone(), members, previous, seed);
    view.parted = parted;
    view
}

/// One gateway of another network may stand in several localities, each time for others.
fn identity(e: &Endpoint) -> (&Address, &str, &str) {
    match e.passage.as_deref() {
        Some(Passage::Gateway(locality)) => (&e.address, "", locality.as_str()),
        Some(Passage::Behind(_)) | None => (&e.address, e.workload.namespace(), &e.workload.name),
    }
}

pub(super) fn assembled(policy: Arc<BackendPolicy>, line: Arc<Line>, members: Box<[Member]>, previous: Option<&View>, seed: u64) -> View {
    let endpoints: Vec<&Endpoint> = members.iter().map(|m| &*m.endpoint).collect();
    let arranged = arrange(&line.setting, &line.stand, &endpoints);
    let tiers = arranged.groups.iter().map(|g| g.priority + 1).max().unwrap_or(1) as usize;
    let count = |positions: &mut dyn Iterator<Item = &u32>| census(positions.map(|i| &members[*i as usize]));
    let of_tier = |tier: usize| arranged.groups.iter().filter(move |g| g.priority as usize == tier);
    let tallies: Vec<Census> = (0..tiers).map(|tier| count(&mut of_tier(tier).flat_map(|g| &g.members))).collect();
    let shares = if arranged.reserve { with_reserve } else { shares }(&tallies, f64::from(policy.panic_below));
    let cursor = |tier: usize, locality: Option<&Locality>| {
        let before = previous.and_then(|v| v.levels.get(tier)?.pools.iter().find(|p| p.locality.as_ref() == locality)?.cursor.clone());
        (policy.lb == Lb::RoundRobin).then(|| before.unwrap_or_else(|| Arc::new(seed.into())))
    };
    let levels = (0..tiers)
        .map(|tier| {
            let panic = shares.panic[tier];
            let may = |i: &u32| panic_or(panic, &members[*i as usize]);
            let zones = if tier == 0 && !panic { by_zone(&line, policy.lb, &arranged, count) } else { None };
            let pools: Box<[Pool]> = pooled(&arranged, tier, zones.is_some())
                .into_iter()
                .map(|(locality, weight, positions)| {
                    let eligible = Positions::new(positions.iter().copied().filter(may).collect(), members.len());
                    let cursor = cursor(tier, locality.as_ref());
                    Pool::new(locality, weight, count(&mut positions.iter()), eligible, &policy, &members, cursor)
                })
                .collect();
            let shares_of = zones.unwrap_or_else(|| by_health(&pools, panic));
            Level::new(shares.load[tier], panic, tallies[tier], pools, &shares_of, policy.lb, &members)
        })
        .collect();
    View { policy, line, members, levels, parted: Box::default(), left_out: Box::default() }
}

/// Counts endpoints as priorities and localities do.
pub(super) fn census<'m>(members: impl Iterator<Item = &'m Member>) -> Census {
    let mut census = Census::default();
    for member in members.filter(|m| m.endpoint.health != Health::Draining) {
        census.total += 1;
        match (member.is_eligible(), member.state.is_on_trial()) {
            (true, false) => census.healthy += 1,
            (true, true) => census.on_trial += 1,
            (false, _) => {}
        }
    }
    census
}

/// In panic every endpoint that can be dialled is eligible.
fn panic_or(panic: bool, member: &Member) -> bool {
    member.is_eligible() || (panic && member.endpoint.address.is_known())
}

/// The shares of the first priority's localities where zones are told apart (L-34); tables of hashes know no zones.
fn by_zone(line: &Line, lb: Lb, arranged: &Arranged, count: impl Fn(&mut dyn Iterator<Item = &u32>) -> Census) -> Option<Vec<f64>> {
    let Setting::Zoned { minimum, callers, .. } = &*line.setting else { return None };
    let first = arranged.groups.iter().filter(|g| g.priority == 0);
    let healthy: Vec<(&Locality, u32)> = first.map(|g| (&g.locality, count(&mut g.members.iter()).healthy)).collect();
    if lb.hashes() { None } else { zone_shares(&line.stand.locality, &healthy, callers, *minimum) }
}

/// The pools of a priority: locality (where localities have shares of their own), weight, positions.
fn pooled(arranged: &Arranged, tier: usize, zoned: bool) -> Vec<(Option<Locality>, u64, Vec<u32>)> {
    let groups = arranged.groups.iter().filter(|g| g.priority as usize == tier);
    if arranged.weighted || zoned {
        return groups.map(|g| (Some(g.locality.clone()), g.weight, g.members.clone())).collect();
    }
    let mut positions: Vec<u32> = groups.flat_map(|g| g.members.iter().copied()).collect();
    positions.sort_unstable();
    vec![(None, 1, positions)]
}

impl View {
    /// How many of the endpoints may be ejected at once.
    pub(super) fn cap(&self) -> u32 {
        self.line.outlier.as_ref().map_or(0, |policy| policy.cap(self.members.len()))
    }

    /// Endpoints that may get traffic.
    pub fn eligible(&self) -> impl Iterator<Item = &Member> {
        self.levels.iter().flat_map(Level::eligible).map(|i| &self.members[i as usize])
    }

    /// The same endpoints as their health is now.
    #[must_use]
    pub fn refreshed(&self) -> Self {
        let mut view = assembled(self.policy.clone(), self.line.clone(), self.members.clone(), Some(self), 0);
        view.parted.clone_from(&self.parted);
        view.left_out.clone_from(&self.left_out);
        view
    }

    /// How likely each member is, in order, when all are equally busy and nothing is hashed.
    pub fn odds(&self) -> Vec<f64> {
        let mut odds = vec![0.0; self.members.len()];
        for level in &self.levels {
            for pool in &level.pools {
                for (i, own) in pool.odds() {
                    odds[i as usize] += f64::from(level.load) / 100.0 * pool.share * own;
                }
            }
        }
        odds
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::balance::BackendKey;
    use crate::balance::Slot;
    use crate::balance::outlier::Outcome;
    use crate::model::Workload;
    use isthmus_config::object::{Kind, ObjectRef};

    pub(in crate::balance) fn endpoint(last: u8) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            address: Address::Socket(([10, 0, 0, last], 80).into()),
            port_name: "http".into(),
            weight: 1,
            health: Health::Healthy,
            workload: Arc::new(Workload::default()),
            source: Arc::new(ObjectRef::new(Kind::EndpointSlice, "a", "a")),
            passage: None,
        })
    }

    fn policy() -> Arc<BackendPolicy> {
        Arc::new(BackendPolicy { lb: Lb::RoundRobin, ..BackendPolicy::default() })
    }

    #[test]
    fn an_endpoint_that_returns_finds_its_requests_in_flight() {
        let (a, b) = (endpoint(1), endpoint(2));
        let line = Arc::default();
        let first = view(&policy(), &line, &[&a, &b], None, 0);
        let member = first.members[0].clone();
        let in_flight = member.state.enter();
        let without = view(&policy(), &line, &[&b], Some(&first), 0);
        drop(first);
        let again = view(&policy(), &line, &[&b], Some(&without), 0);
        let back = view(&policy(), &line, &[&a, &b], Some(&again), 0);
        assert_eq!(back.members[0].state.active(), 1);
        drop((in_flight, member, back, again));
        let forgotten = view(&policy(), &line, &[&b], Some(&without), 0);
        assert!(forgotten.parted.iter().all(|m| m.held().is_none()), "nobody holds what nobody uses");
    }

    #[test]
    fn an_ejection_is_in_force_before_its_view_and_within_the_cap_d41() {
        let endpoints: Vec<Arc<Endpoint>> = (1..=4).map(endpoint).collect();
        let outlier = OutlierPolicy {
            consecutive_5xx: 1,
            consecutive_gateway: 0,
            consecutive_local: 0,
            split: false,
            interval: Duration::from_secs(1),
            base: Duration::from_secs(1),
            max_percent: 50,
            codes: vec![],
            half_open: false,
        };
        let line = Arc::new(Line { outlier: Some(Arc::new(outlier)), ..Line::default() });
        let key = BackendKey { host: "a".into(), port: 80, subset: "".into() };
        let slot = Arc::new(Slot::new(key, view(&policy(), &line, &endpoints.iter().collect::<Vec<_>>(), None, 0)));
        let members = slot.view.load().members.clone();
        let ejected: Vec<bool> = members.iter().map(|m| slot.judge(m, Outcome::Answer(500)).is_some()).collect();
        assert_eq!(ejected, [true, true, false, false], "half of four");
        let tallied = slot.tallied();
        assert_eq!((tallied.detected, tallied.enforced, tallied.overflow, slot.ejected()), ([4, 0, 0], [2, 0, 0], 2, 2));
        assert!(slot.judge(&members[0], Outcome::Answer(500)).is_none() && slot.tallied() == tallied, "who is out is not found again");
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
        for _ in 0..100 {
            let picked = slot.pick(None, &[], crate::balance::Ledger::Live, &mut rng).expect("two are left");
            assert!(!picked.member.state.is_ejected());
        }
        slot.release(&members[0].state);
        assert!(slot.judge(&members[2], Outcome::Broken).is_some(), "room for one again");
    }
}
