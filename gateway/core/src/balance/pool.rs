//! The endpoints of one draw: those of a priority, or of one locality in it where localities are weighted.
//!
//! Whatever the policy needs for an O(1) pick is made here, once: the order of turns, the alias table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isthmus_config::name::Locality;
use rand::RngCore;

use super::pick::Ledger;
use super::priority::Census;
use super::view::{Lb, Member};

/// Endpoints that are drawn from together.
#[derive(Debug)]
pub struct Pool {
    /// Their locality, where localities are weighted; else `None`.
    pub locality: Option<Locality>,
    /// The locality's weight before health (L-23).
    pub weight: u64,
    /// How many of them may get traffic.
    pub census: Census,
    /// Positions in the view's members of those that may get traffic.
    pub(super) eligible: Vec<u32>,
    /// The order of turns by weight (ROUND_ROBIN); empty where all weights are equal.
    turns: Vec<u32>,
    /// Draw by weight (LEAST_REQUEST); `None` where all weights are equal.
    alias: Option<Alias>,
    /// The turn of ROUND_ROBIN, one for the process; it outlives the view.
    pub(super) cursor: Arc<AtomicU64>,
}

impl Pool {
    pub(super) fn new(
        locality: Option<Locality>,
        weight: u64,
        census: Census,
        eligible: Vec<u32>,
        lb: Lb,
        members: &[Arc<Member>],
        cursor: Arc<AtomicU64>,
    ) -> Self {
        let weights: Vec<u32> = eligible.iter().map(|i| members[*i as usize].weight()).collect();
        let equal = weights.windows(2).all(|w| w[0] == w[1]);
        let turns = if lb == Lb::RoundRobin && !equal { turns(&eligible, &weights) } else { Vec::new() };
        let alias = (lb == Lb::LeastRequest && !equal).then(|| Alias::new(&weights));
        Self { locality, weight, census, eligible, turns, alias, cursor }
    }

    /// A position in the view's members; `None` where none may get traffic.
    pub(super) fn draw(&self, lb: Lb, members: &[Arc<Member>], ledger: Ledger, rng: &mut dyn RngCore) -> Option<u32> {
        let n = self.eligible.len() as u64;
        if n == 0 {
            return None;
        }
        let any = |random: u64| self.eligible[(((random >> 32) * n) >> 32) as usize];
        match lb {
            Lb::Passthrough => None,
            Lb::Random | Lb::RingHash { .. } | Lb::Maglev { .. } => Some(any(rng.next_u64())),
            Lb::RoundRobin => {
                let turn = match ledger {
                    Ledger::Live => self.cursor.fetch_add(1, Ordering::Relaxed),
                    Ledger::Peek => self.cursor.load(Ordering::Relaxed),
                };
                Some(if self.turns.is_empty() { self.eligible[(turn % n) as usize] } else { self.turns[(turn % self.turns.len() as u64) as usize] })
            }
            Lb::LeastRequest => {
                let mut one = || match &self.alias {
                    Some(alias) => self.eligible[alias.draw(rng.next_u64())],
                    None => any(rng.next_u64()),
                };
                let (a, b) = (one(), one());
                Some(if self.busier(a, b, members) { b } else { a })
            }
        }
    }

    /// True where `a` has more to do than `b` for its weight. Both were drawn by weight, so of idle ones the first stands.
    fn busier(&self, a: u32, b: u32, members: &[Arc<Member>]) -> bool {
        let load = |i: u32| u64::from(members[i as usize].state.active());
        let weight = |i: u32| u64::from(members[i as usize].weight());
        load(a) * weight(b) > load(b) * weight(a)
    }

    /// How likely each eligible endpoint is drawn when all are equally busy: position in the members, share.
    pub(super) fn odds<'a>(&'a self, lb: Lb, members: &'a [Arc<Member>]) -> impl Iterator<Item = (u32, f64)> + 'a {
        let by_weight = matches!(lb, Lb::RoundRobin | Lb::LeastRequest);
        let weight = move |i: u32| if by_weight { f64::from(members[i as usize].weight()) } else { 1.0 };
        let total: f64 = self.eligible.iter().map(|i| weight(*i)).sum();
        self.eligible.iter().map(move |i| (*i, weight(*i) / total))
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
    /// Position `i` is drawn in proportion to `weights[i]`; their sum is above 0.
    pub(super) fn new(weights: &[u32]) -> Self {
        let n = weights.len() as u64;
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut rest: Vec<u64> = weights.iter().map(|w| u64::from(*w) * n).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|i| rest[*i] < total);
        let mut slots: Vec<(u32, u32)> = (0..n as u32).map(|i| (u32::MAX, i)).collect();
        while let Some(l) = large.last().copied() {
            let Some(s) = small.pop() else { break };
            slots[s] = ((u128::from(rest[s]) * u128::from(u32::MAX) / u128::from(total)) as u32, l as u32);
            rest[l] -= total - rest[s];
            if rest[l] < total {
                large.pop();
                small.push(l);
            }
        }
        Self { slots }
    }
    /// The same by shares that sum to 1.
    pub(super) fn of_shares(shares: &[f64]) -> Self {
        Self::new(&shares.iter().map(|share| (share * 1e9).round() as u32).collect::<Vec<_>>())
    }
    /// Draws a position; `random` is any number.
    pub(super) fn draw(&self, random: u64) -> usize {
        let i = (((random >> 32) * self.slots.len() as u64) >> 32) as usize;
        let (keep, other) = self.slots[i];
        if (random as u32) < keep || keep == u32::MAX { i } else { other as usize }
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
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(7);
        for (weights, share) in [(vec![1, 3], 0.75), (vec![5, 0], 0.0), (vec![700, 100, 200], 0.1)] {
            let alias = Alias::new(&weights);
            let ones = (0..100_000).filter(|_| alias.draw(rng.next_u64()) == 1).count() as f64 / 100_000.0;
            assert!((ones - share).abs() < 0.01, "{weights:?}: {ones}");
        }
    }
}
