//! The endpoints of one draw: those of a priority, or of one locality in it where localities are weighted.
//!
//! Whatever the policy needs for an O(1) pick is made here, once: the order of turns, the alias table.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isthmus_config::name::Locality;
use rand::RngCore;

use super::member::Member;
use super::pick::Ledger;
use super::policy::{BackendPolicy, Lb};
use super::priority::Census;
use super::warmup::WHOLE;

/// Endpoints that are drawn from together.
#[derive(Debug)]
pub struct Pool {
    /// Their locality, where localities have shares of their own; else `None`.
    pub locality: Option<Locality>,
    /// The locality's weight before health (L-23).
    pub weight: u64,
    /// Its share of the priority; the shares of all pools sum to 1 unless nothing may get traffic.
    pub share: f64,
    /// How many of them may get traffic.
    pub census: Census,
    /// Those that may get traffic.
    pub(super) eligible: Positions,
    /// What each of them weighs, where the policy weighs them and they differ.
    scale: Option<Box<Scale>>,
    /// The turn of ROUND_ROBIN, one for the process; it outlives the view.
    pub(super) cursor: Option<Arc<AtomicU64>>,
}

/// Positions in a view's members, in order.
#[derive(Debug)]
pub(super) enum Positions {
    /// Every member; so many there are.
    All(u32),
    /// These.
    Some(Box<[u32]>),
}

impl Positions {
    /// Some of so many members.
    pub(super) fn new(some: Box<[u32]>, members: usize) -> Self {
        let all = some.len() == members && (0..).zip(&some).all(|(at, position)| at == *position);
        if all { Self::All(some.len() as u32) } else { Self::Some(some) }
    }
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(count) => *count as usize,
            Self::Some(some) => some.len(),
        }
    }
    /// The one at a place below [`Self::len`].
    fn at(&self, place: usize) -> u32 {
        match self {
            Self::All(_) => place as u32,
            Self::Some(some) => some[place],
        }
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).map(|place| self.at(place))
    }
}

/// Endpoints of different weight, by their places among the eligible.
#[derive(Debug)]
struct Scale {
    weights: Box<[u32]>,
    order: Draw,
}

/// How the policy goes by weight.
#[derive(Debug)]
enum Draw {
    /// ROUND_ROBIN: the order of turns.
    Turns(Box<[u32]>),
    /// All others draw.
    Alias(Alias),
}

/// As many endpoints LEAST_REQUEST looks at all; of more it draws two (contract/envoy.md 12, 23).
const SCANNED: usize = 8;

impl Pool {
    pub(super) fn new(
        locality: Option<Locality>,
        weight: u64,
        census: Census,
        eligible: Positions,
        policy: &BackendPolicy,
        members: &[Member],
        cursor: Option<Arc<AtomicU64>>,
    ) -> Self {
        let scale = weights(&eligible, policy, members).map(|weights| {
            let order = if policy.lb == Lb::RoundRobin { Draw::Turns(turns(&weights)) } else { Draw::Alias(Alias::new(&weights)) };
            Box::new(Scale { weights, order })
        });
        Self { locality, weight, share: 0.0, census, eligible, scale, cursor }
    }

    /// A position in the view's members; `None` where none may get traffic.
    pub(super) fn draw(&self, lb: Lb, members: &[Member], ledger: Ledger, rng: &mut dyn RngCore) -> Option<u32> {
        if self.eligible.len() == 0 || lb == Lb::Passthrough {
            return None;
        }
        let at = match lb {
            Lb::RoundRobin => {
                let turn = self.cursor.as_ref().map_or(0, |cursor| match ledger {
                    Ledger::Live => cursor.fetch_add(1, Ordering::Relaxed),
                    Ledger::Peek => cursor.load(Ordering::Relaxed),
                });
                match self.order() {
                    Some(Draw::Turns(turns)) => turns[(turn % turns.len() as u64) as usize] as usize,
                    Some(Draw::Alias(_)) | None => (turn % self.eligible.len() as u64) as usize,
                }
            }
            Lb::LeastRequest if self.eligible.len() <= SCANNED => self.least(members, rng),
            Lb::LeastRequest => {
                let (a, b) = (self.any(rng), self.any(rng));
                if self.busier(a, b, members) { b } else { a }
            }
            Lb::Random | Lb::RingHash { .. } | Lb::Maglev { .. } | Lb::Passthrough => self.any(rng),
        };
        Some(self.eligible.at(at))
    }

    /// Any of them, by weight: a position in `eligible`.
    fn any(&self, rng: &mut dyn RngCore) -> usize {
        match self.order() {
            Some(Draw::Alias(alias)) => alias.draw(rng.next_u64()),
            Some(Draw::Turns(_)) | None => below(self.eligible.len(), rng),
        }
    }
    fn order(&self) -> Option<&Draw> {
        self.scale.as_ref().map(|scale| &scale.order)
    }
    /// What one of them weighs, by its place among the eligible.
    fn weight_at(&self, place: usize) -> u32 {
        self.scale.as_ref().map_or(1, |scale| scale.weights[place])
    }

    /// Of a few, the one with least to do for its weight, any of those that are alike. By weight, one that is idle stands as drawn, so
    /// that shares are by weight where there is little to do.
    fn least(&self, members: &[Member], rng: &mut dyn RngCore) -> usize {
        let load = |at: usize| u64::from(members[self.eligible.at(at) as usize].state.active());
        let drawn = self.scale.is_some().then(|| self.any(rng));
        if let Some(idle) = drawn.filter(|at| load(*at) == 0) {
            return idle;
        }
        let mut loads = [(0, 0); SCANNED];
        let loads = &mut loads[..self.eligible.len()];
        for (at, slot) in loads.iter_mut().enumerate() {
            *slot = (load(at) + 1, u64::from(self.weight_at(at)));
        }
        let less = |a: (u64, u64), b: (u64, u64)| a.0 * b.1 < b.0 * a.1;
        let least = loads.iter().copied().fold(loads[0], |least, one| if less(one, least) { one } else { least });
        let alike = || loads.iter().enumerate().filter(|(_, one)| !less(least, **one));
        let pick = below(alike().count(), rng);
        alike().nth(pick).map_or(0, |(at, _)| at)
    }

    /// True where `a` has more to do than `b` for its weight. Both were drawn by weight, so of idle ones the first stands.
    fn busier(&self, a: usize, b: usize, members: &[Member]) -> bool {
        let load = |at: usize| u64::from(members[self.eligible.at(at) as usize].state.active());
        let weight = |at: usize| u64::from(self.weight_at(at));
        load(a) * weight(b) > load(b) * weight(a)
    }

    /// How likely each eligible endpoint is drawn when all are idle: position in the members, share.
    pub(super) fn odds(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let weight = |at: usize| f64::from(self.weight_at(at));
        let total: f64 = (0..self.eligible.len()).map(weight).sum();
        self.eligible.iter().enumerate().map(move |(at, i)| (i, weight(at) / total))
    }
}

/// A number below `n`, which is above 0.
fn below(n: usize, rng: &mut dyn RngCore) -> usize {
    (((rng.next_u64() >> 32) * n as u64) >> 32) as usize
}

/// What each endpoint weighs; `None` where they are alike. Random and hashes know no weights, but they know trials.
fn weights(eligible: &Positions, policy: &BackendPolicy, members: &[Member]) -> Option<Box<[u32]>> {
    let weighs = matches!(policy.lb, Lb::RoundRobin | Lb::LeastRequest);
    let warms = weighs && policy.warm_up.is_some();
    let of = |i: u32| {
        let member = &members[i as usize];
        (if weighs { member.weight() } else { 1 }, member.portion(warms))
    };
    let whole = eligible.iter().all(|i| of(i).1 == WHOLE);
    let weights: Box<[u32]> = eligible.iter().map(of).map(|(weight, portion)| if whole { weight } else { weight.saturating_mul(portion) }).collect();
    (!weights.windows(2).all(|w| w[0] == w[1])).then_some(weights)
}

/// The longest list of turns; finer weights are rounded to it.
const MAX_TURNS: u64 = 4096;

/// Weighted order of positions: each as often as its weight says, spread evenly, the heavier first where they meet.
fn turns(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut shares: Vec<u64> = weights.iter().map(|w| u64::from(w / divisor)).collect();
    let total: u64 = shares.iter().sum();
    if total > MAX_TURNS {
        for share in &mut shares {
            *share = (*share * MAX_TURNS / total).max(1);
        }
    }
    // Turn k of a share comes at its middle: (k + 1/2) / share of the way.
    let at = |k: u64, share: u64| ((2 * k + 1) << 32) / share;
    let mut order: Vec<(u64, Reverse<u64>, u32)> =
        (0u32..).zip(&shares).flat_map(|(i, s)| (0..*s).map(move |k| (at(k, *s), Reverse(*s), i))).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, i)| i).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Walker's alias method: a draw by weight in two loads.
#[derive(Debug)]
pub(super) struct Alias {
    slots: Box<[(u32, u32)]>,
}

impl Alias {
    /// Position `i` is drawn in proportion to `weights[i]`; their sum is above 0.
    pub(super) fn new(weights: &[u32]) -> Self {
        let n = weights.len() as u64;
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut rest: Vec<u64> = weights.iter().map(|w| u64::from(*w) * n).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|i| rest[*i] < total);
        let mut slots: Box<[(u32, u32)]> = (0..n as u32).map(|i| (u32::MAX, i)).collect();
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
        let order = turns(&[1, 2, 5]);
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
