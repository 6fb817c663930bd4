//! The endpoints of one backend now, with the tables that make a pick O(1).
//!
//! `view` is the one function that makes a [`View`], from endpoints and policy; compile calls it, and whoever changes health later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Address, Endpoint, Health};

use super::hash::HashTable;
use super::slot::EndpointState;

/// How an endpoint is chosen (contract 1.5, loadBalancer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lb {
    /// In turn, by weight.
    RoundRobin,
    /// The less busy of two drawn by weight; Istio's default.
    LeastRequest,
    /// Any, whatever the weight.
    Random,
    /// A ring of at least so many entries.
    RingHash {
        /// minimumRingSize.
        minimum: u32,
    },
    /// A Maglev table of a prime size.
    Maglev {
        /// tableSize.
        size: u32,
    },
    /// To the original destination: unusable at a gateway (D-30), so no endpoint is ever picked.
    Passthrough,
}

/// In what the endpoint is spoken to (G-48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// As the client spoke to us.
    SameAsClient,
}

/// A backend's traffic policy, resolved (D-20..D-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendPolicy {
    /// How an endpoint is chosen.
    pub lb: Lb,
    /// In what it is spoken to.
    pub protocol: UpstreamProtocol,
    /// How long connecting may take, handshakes included.
    pub connect_timeout: Duration,
    /// How long a connection may stay unused.
    pub idle_timeout: Duration,
    /// UNHEALTHY endpoints are left out, not only passed over (M-14).
    pub drop_unhealthy: bool,
}

/// One endpoint in a view.
#[derive(Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its address as the access log writes it.
    pub host: Arc<str>,
    /// Its state, which outlives this view.
    pub state: Arc<EndpointState>,
}

/// The endpoints and tables of one backend.
#[derive(Debug)]
pub struct View {
    /// The policy in force.
    pub policy: BackendPolicy,
    /// Every endpoint, in the order of the catalog.
    pub members: Vec<Arc<Member>>,
    /// Positions of those that may get traffic.
    pub(super) eligible: Vec<u32>,
    /// The order of turns by weight (ROUND_ROBIN): positions in `members`.
    pub(super) turns: Vec<u32>,
    /// Draw by weight (LEAST_REQUEST); empty where all weights are equal.
    pub(super) alias: Option<Alias>,
    /// Hash to position, where the policy hashes.
    pub(super) table: Option<HashTable>,
}

/// Makes the view of a backend. `previous` hands on the state of endpoints that it shares.
pub fn view(policy: BackendPolicy, endpoints: &[&Endpoint], previous: Option<&View>) -> View {
    let known: HashMap<(&Address, &str, &str), &Arc<Member>> =
        previous.map(|v| v.members.iter().map(|m| (identity(&m.endpoint), m)).collect()).unwrap_or_default();
    let members: Vec<Arc<Member>> = endpoints
        .iter()
        .filter(|e| !(policy.drop_unhealthy && e.health == Health::Unhealthy))
        .map(|e| match known.get(&identity(e)) {
            Some(m) if m.endpoint == **e => (*m).clone(),
            Some(m) => Arc::new(Member { endpoint: (*e).clone(), host: m.host.clone(), state: m.state.clone() }),
            None => Arc::new(Member { endpoint: (*e).clone(), host: e.address.to_string().into(), state: Arc::default() }),
        })
        .collect();
    let eligible: Vec<u32> = (0u32..)
        .zip(&members)
        .filter(|(_, m)| m.endpoint.health == Health::Healthy && !matches!(m.endpoint.address, Address::Unresolved(..)))
        .map(|(i, _)| i)
        .collect();
    let weights: Vec<u32> = eligible.iter().map(|i| members[*i as usize].endpoint.weight.max(1)).collect();
    let equal = weights.windows(2).all(|w| w[0] == w[1]);
    let mut view = View { policy, members, eligible, turns: Vec::new(), alias: None, table: None };
    match view.policy.lb {
        Lb::RoundRobin if !equal => view.turns = turns(&view.eligible, &weights),
        Lb::LeastRequest if !equal => view.alias = Some(Alias::new(&weights)),
        Lb::RingHash { minimum } => view.table = Some(HashTable::ring(&view.hosts(), &weights, minimum)),
        Lb::Maglev { size } => view.table = Some(HashTable::maglev(&view.hosts(), &weights, size)),
        Lb::RoundRobin | Lb::LeastRequest | Lb::Random | Lb::Passthrough => {}
    }
    view
}

fn identity(e: &Endpoint) -> (&Address, &str, &str) {
    (&e.address, &e.workload.namespace, &e.workload.name)
}

impl View {
    fn hosts(&self) -> Vec<&str> {
        self.eligible.iter().map(|i| &*self.members[*i as usize].host).collect()
    }
    /// Endpoints that may get traffic.
    pub fn eligible(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.eligible.iter().map(|i| &self.members[*i as usize])
    }
}

/// The longest list of turns; finer weights are rounded to it.
const MAX_TURNS: u64 = 4096;

/// Smooth weighted order: each position as often as its weight says, spread evenly.
fn turns(eligible: &[u32], weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut shares: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = shares.iter().sum();
    if total as u64 > MAX_TURNS {
        for share in &mut shares {
            *share = (*share * MAX_TURNS as i64 / total).max(1);
        }
    }
    let total: i64 = shares.iter().sum();
    let mut credit = vec![0i64; shares.len()];
    (0..total)
        .filter_map(|_| {
            for (c, s) in credit.iter_mut().zip(&shares) {
                *c += s;
            }
            let best = (0..credit.len()).rev().max_by_key(|i| credit[*i])?;
            credit[best] -= total;
            Some(eligible[best])
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Walker's alias method: a draw by weight in two loads.
#[derive(Debug)]
pub(super) struct Alias {
    slots: Vec<(u32, u32)>,
}

impl Alias {
    /// Position `i` is drawn in proportion to `weights[i]`; weights are at least 1.
    fn new(weights: &[u32]) -> Self {
        let n = weights.len() as u64;
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut rest: Vec<u64> = weights.iter().map(|w| u64::from(*w) * n).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|i| rest[*i] < total);
        let mut slots: Vec<(u32, u32)> = (0..n as u32).map(|i| (u32::MAX, i)).collect();
        while let (Some(s), Some(l)) = (small.pop(), large.last().copied()) {
            slots[s] = ((u128::from(rest[s]) * u128::from(u32::MAX) / u128::from(total)) as u32, l as u32);
            rest[l] -= total - rest[s];
            if rest[l] < total {
                large.pop();
                small.push(l);
            }
        }
        Self { slots }
    }
    /// Draws a position; `random` is any number.
    pub(super) fn draw(&self, random: u64) -> usize {
        let i = ((random >> 32) * self.slots.len() as u64 >> 32) as usize;
        let (keep, other) = self.slots[i];
        if (random as u32) <= keep { i } else { other as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_by_weight_and_spread() {
        let order = turns(&[0, 1, 2], &[1, 2, 5]);
        let count = |i| order.iter().filter(|x| **x == i).count();
        assert_eq!((count(0), count(1), count(2)), (1, 2, 5));
        assert!(order.windows(4).all(|w| w.iter().any(|x| *x != 2)), "{order:?}");
    }

    #[test]
    fn an_alias_table_draws_by_weight() {
        let alias = Alias::new(&[1, 3]);
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(7);
        let ones = (0..100_000).filter(|_| alias.draw(rand::RngCore::next_u64(&mut rng)) == 1).count();
        assert!((74_000..76_000).contains(&ones), "{ones}");
    }
}
