//! One priority of a view: how much of the traffic it gets, and who in it gets what.

use std::sync::Arc;

use super::hash::HashTable;
use super::member::Member;
use super::policy::Lb;
use super::pool::{Alias, Pool};
use super::priority::{Census, effective_weight};

/// One priority.
#[derive(Debug)]
pub struct Level {
    /// Percent of the traffic that it gets.
    pub load: u32,
    /// Health is ignored in it (D-42).
    pub panic: bool,
    /// How many of its endpoints may get traffic.
    pub census: Census,
    /// One pool, or one per locality where localities have shares of their own.
    pub pools: Vec<Pool>,
    /// The share of each pool, in order; sums to 1 unless nothing may get traffic.
    pub shares: Vec<f64>,
    /// Draws a pool by its share, where there are several.
    draw: Option<Alias>,
    /// Hash to place in `hashed`, where the policy hashes.
    table: Option<HashTable>,
    hashed: Vec<u32>,
}

impl Level {
    /// `weights` are those of the pools, in order, on any scale.
    pub(super) fn new(load: u32, panic: bool, census: Census, pools: Vec<Pool>, weights: &[f64], lb: Lb, members: &[Arc<Member>]) -> Self {
        let sum: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|w| if sum > 0.0 { w / sum } else { 0.0 }).collect();
        let draw = (pools.len() > 1 && sum > 0.0).then(|| Alias::of_shares(&shares));
        let mut level = Self { load, panic, census, pools, shares, draw, table: None, hashed: Vec::new() };
        if lb.hashes() {
            level.hashed = level.pools.iter().flat_map(|p| p.eligible.iter().copied()).collect();
            let hosts: Vec<String> = level.hashed.iter().map(|i| members[*i as usize].address().to_string()).collect();
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let weights = hash_weights(&level.pools, members);
            level.table = match lb {
                Lb::RingHash { minimum } => Some(HashTable::ring(&hosts, &weights, minimum)),
                Lb::Maglev { size } => Some(HashTable::maglev(&hosts, &weights, size)),
                Lb::RoundRobin | Lb::LeastRequest | Lb::Random | Lb::Passthrough => None,
            };
        }
        level
    }
    pub(super) fn pool(&self, random: impl FnOnce() -> u64) -> Option<&Pool> {
        match &self.draw {
            Some(alias) => self.pools.get(alias.draw(random())),
            None => self.pools.first(),
        }
    }
    /// The member for a hash; `attempt` moves on from the first.
    pub(super) fn by_hash(&self, hash: u64, attempt: u32) -> Option<u32> {
        let place = self.table.as_ref()?.position(hash, attempt)?;
        self.hashed.get(place as usize).copied()
    }
}

/// What each pool weighs: all that is in it in panic, else its locality's weight as its health leaves it.
pub(super) fn by_health(pools: &[Pool], panic: bool) -> Vec<f64> {
    match pools {
        [_] => vec![1.0],
        _ if panic => pools.iter().map(|p| p.eligible.len() as f64).collect(),
        _ => pools.iter().map(|p| effective_weight(p.weight, p.census)).collect(),
    }
}

/// Host weights for a hash: by locality weight where localities are weighted, whatever their health (contract/envoy.md 3.3).
fn hash_weights(pools: &[Pool], members: &[Arc<Member>]) -> Vec<u32> {
    // Whole weights where nobody is on trial, so that the tables are Envoy's.
    let tried = pools.iter().flat_map(|p| &p.eligible).any(|i| members[*i as usize].state.is_on_trial());
    let weight = |i: &u32| {
        let member = &members[*i as usize];
        if tried { member.weight().saturating_mul(member.portion(false)) } else { member.weight() }
    };
    if pools.len() < 2 {
        return pools.iter().flat_map(|p| p.eligible.iter().map(weight)).collect();
    }
    let sum: u64 = pools.iter().map(|p| p.weight).sum();
    let of = |p: &Pool, i: &u32| {
        let own: u64 = p.eligible.iter().map(|j| u64::from(weight(j))).sum();
        let share = p.weight as f64 / sum.max(1) as f64 * f64::from(weight(i)) / own.max(1) as f64;
        (share * 1e6).round().max(1.0) as u32
    };
    pools.iter().flat_map(|p| p.eligible.iter().map(move |i| of(p, i))).collect()
}
