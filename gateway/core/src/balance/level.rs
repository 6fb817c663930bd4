//! One priority of a view: how much of the traffic it gets, and who in it gets what.

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
    pub pools: Box<[Pool]>,
    /// Draws a pool by its share, where there are several.
    draw: Option<Alias>,
    /// Draws by hash, where the policy hashes.
    hashing: Option<Box<Hashing>>,
}

/// Hash to endpoint.
#[derive(Debug)]
struct Hashing {
    /// Hash to place in `hashed`.
    table: HashTable,
    /// Positions in the view's members.
    hashed: Box<[u32]>,
}

impl Hashing {
    fn new(lb: Lb, pools: &[Pool], members: &[Member]) -> Option<Box<Self>> {
        let hashed: Box<[u32]> = pools.iter().flat_map(|p| p.eligible.iter()).collect();
        let table = |build: &dyn Fn(&[&str], &[u32]) -> HashTable| {
            let hosts: Vec<String> = hashed.iter().map(|i| members[*i as usize].address().to_string()).collect();
            build(&hosts.iter().map(String::as_str).collect::<Vec<_>>(), &hash_weights(pools, members))
        };
        let table = match lb {
            Lb::RingHash { minimum } => table(&|hosts, weights| HashTable::ring(hosts, weights, minimum)),
            Lb::Maglev { size } => table(&|hosts, weights| HashTable::maglev(hosts, weights, size)),
            Lb::RoundRobin | Lb::LeastRequest | Lb::Random | Lb::Passthrough => return None,
        };
        Some(Box::new(Self { table, hashed }))
    }
}

impl Level {
    /// `weights` are those of the pools, in order, on any scale.
    pub(super) fn new(load: u32, panic: bool, census: Census, mut pools: Box<[Pool]>, weights: &[f64], lb: Lb, members: &[Member]) -> Self {
        let sum: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|w| if sum > 0.0 { w / sum } else { 0.0 }).collect();
        let draw = (pools.len() > 1 && sum > 0.0).then(|| Alias::of_shares(&shares));
        pools.iter_mut().zip(shares).for_each(|(pool, share)| pool.share = share);
        let hashing = Hashing::new(lb, &pools, members);
        Self { load, panic, census, pools, draw, hashing }
    }
    /// Positions in the view's members of those that may get traffic.
    pub(super) fn eligible(&self) -> impl Iterator<Item = u32> {
        self.pools.iter().flat_map(|p| p.eligible.iter())
    }
    pub(super) fn pool(&self, random: impl FnOnce() -> u64) -> Option<&Pool> {
        match &self.draw {
            Some(alias) => self.pools.get(alias.draw(random())),
            None => self.pools.first(),
        }
    }
    /// The member for a hash; `attempt` moves on from the first.
    pub(super) fn by_hash(&self, hash: u64, attempt: u32) -> Option<u32> {
        let hashing = self.hashing.as_deref()?;
        let place = hashing.table.position(hash, attempt)?;
        hashing.hashed.get(place as usize).copied()
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
fn hash_weights(pools: &[Pool], members: &[Member]) -> Vec<u32> {
    // Whole weights where nobody is on trial, so that the tables are Envoy's.
    let tried = pools.iter().flat_map(|p| p.eligible.iter()).any(|i| members[i as usize].state.is_on_trial());
    let weight = |i: u32| {
        let member = &members[i as usize];
        if tried { member.weight().saturating_mul(member.portion(false)) } else { member.weight() }
    };
    if pools.len() < 2 {
        return pools.iter().flat_map(|p| p.eligible.iter().map(weight)).collect();
    }
    let sum: u64 = pools.iter().map(|p| p.weight).sum();
    let of = |p: &Pool, i: u32| {
        let own: u64 = p.eligible.iter().map(|j| u64::from(weight(j))).sum();
        let share = p.weight as f64 / sum.max(1) as f64 * f64::from(weight(i)) / own.max(1) as f64;
        (share * 1e6).round().max(1.0) as u32
    };
    pools.iter().flat_map(|p| p.eligible.iter().map(move |i| of(p, i))).collect()
}
