//! One pick: the endpoint for an attempt.
//!
//! A priority is drawn by its share, a locality by its weight, an endpoint by the policy. Hosts tried before are passed over where the
//! retry policy says so: up to five more draws, then any that was not tried, and a tried one only where there is no other. An endpoint ejected since the view was made is
//! passed over as well, so an ejection is in force before its view is.

use std::sync::Arc;

use rand::RngCore;

use super::level::Level;
use super::member::Member;
use super::policy::{BackendPolicy, Lb};
use super::slot::{EndpointState, Slot};
use super::view::View;

/// What a decision takes from the running process, or only looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// Takes turns and counts.
    Live,
    /// Only looks: explain and what-if.
    Peek,
}

/// The endpoint chosen.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The endpoint.
    pub member: Member,
    /// The policy of the view that it was chosen from.
    pub policy: BackendPolicy,
    /// Health was ignored (D-42).
    pub panic: bool,
}

/// Draws that pass over a host tried before, after the first (V-31).
const RESELECTIONS: u32 = 5;

impl Slot {
    /// Chooses an endpoint of the present view. `hash` decides where the policy hashes; hosts in `avoid` are passed over as
    /// long as there is another. `None`: no endpoint may get traffic (503 UH).
    pub fn pick(&self, hash: Option<u64>, avoid: &[Arc<EndpointState>], ledger: Ledger, rng: &mut dyn RngCore) -> Option<Picked> {
        self.view.load().pick(hash, avoid, ledger, rng)
    }
}

impl View {
    /// Chooses an endpoint, as [`Slot::pick`] does.
    pub fn pick(&self, hash: Option<u64>, avoid: &[Arc<EndpointState>], ledger: Ledger, rng: &mut dyn RngCore) -> Option<Picked> {
        self.pick_within(None, hash, avoid, ledger, rng)
    }

    /// The same, with percentages of the priorities that are not those of their health.
    pub fn pick_within(
        &self,
        load: Option<&[u32]>,
        hash: Option<u64>,
        avoid: &[Arc<EndpointState>],
        ledger: Ledger,
        rng: &mut dyn RngCore,
    ) -> Option<Picked> {
        let mut draw = 0;
        loop {
            let level = self.level(load, hash, rng)?;
            let (level, position) = match self.draw(level, hash, draw, ledger, rng) {
                Some(position) => (level, position),
                // All of it was ejected since the view was made: whoever is next in line.
                None => self.levels.iter().find_map(|level| Some((level, self.draw(level, hash, draw, ledger, rng)?)))?,
            };
            let tried = |i: u32| avoid.iter().any(|s| Arc::ptr_eq(s, &self.members[i as usize].state));
            if !tried(position) || draw == RESELECTIONS {
                let position = if tried(position) { self.another(level, &tried, rng).unwrap_or(position) } else { position };
                return Some(self.picked(level, position));
            }
            draw += 1;
        }
    }

    /// The endpoint of a state, where it may get traffic now.
    pub fn at(&self, state: &Arc<EndpointState>) -> Option<Picked> {
        self.levels.iter().find_map(|level| {
            let position = self.usable(level).find(|i| Arc::ptr_eq(&self.members[*i as usize].state, state))?;
            Some(self.picked(level, position))
        })
    }

    /// One of the priority that is not `tried`, any of them. Draws alone may meet a dead endpoint again and again: it has nothing to do, so least
    /// load prefers it.
    fn another(&self, level: &Level, tried: &dyn Fn(u32) -> bool, rng: &mut dyn RngCore) -> Option<u32> {
        let all = || self.usable(level).filter(|i| !tried(*i));
        all().nth(((u64::from(rng.next_u32()) * all().count() as u64) >> 32) as usize)
    }

    /// The priority: a number from 1 to 100 against the shares; of a hash, always the same one (contract/envoy.md 3.1).
    fn level(&self, load: Option<&[u32]>, hash: Option<u64>, rng: &mut dyn RngCore) -> Option<&Level> {
        if self.levels.len() == 1 {
            return self.levels.first();
        }
        let mut point = match hash {
            Some(hash) if self.policy.lb.hashes() => (hash % 100) as u32,
            _ => ((u64::from(rng.next_u32()) * 100) >> 32) as u32,
        };
        let load = |at: usize| load.map_or(self.levels[at].load, |load| load.get(at).copied().unwrap_or(0));
        let at = (0..self.levels.len()).find(|at| {
            let here = point < load(*at);
            point = point.saturating_sub(load(*at));
            here
        })?;
        self.levels.get(at)
    }

    /// A position in `members`, passing over what was ejected since the view was made.
    fn draw(&self, level: &Level, hash: Option<u64>, attempt: u32, ledger: Ledger, rng: &mut dyn RngCore) -> Option<u32> {
        let hash = hash.filter(|_| self.policy.lb.hashes());
        for again in 0..=RESELECTIONS {
            let drawn = match hash {
                Some(hash) => level.by_hash(hash, attempt + again),
                None => {
                    // The least busy would be the same one again.
                    let lb = if attempt + again > 0 && self.policy.lb == Lb::LeastRequest { Lb::Random } else { self.policy.lb };
                    level.pool(|| rng.next_u64()).and_then(|p| p.draw(lb, &self.members, ledger, rng))
                }
            }?;
            if self.is_usable(level, drawn) {
                return Some(drawn);
            }
        }
        self.usable(level).next()
    }

    /// True where a member of the priority may get traffic still: in panic all may.
    fn is_usable(&self, level: &Level, position: u32) -> bool {
        level.panic || !self.members[position as usize].state.is_ejected()
    }

    /// Who of the priority may get traffic still.
    fn usable(&self, level: &Level) -> impl Iterator<Item = u32> {
        level.eligible().filter(|i| self.is_usable(level, *i))
    }

    fn picked(&self, level: &Level, position: u32) -> Picked {
        Picked { member: self.members[position as usize].clone(), policy: *self.policy, panic: level.panic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::view::tests::endpoint;
    use crate::balance::{BackendPolicy, Lb, Line, view};

    #[test]
    fn a_host_tried_before_is_passed_over_while_there_is_another() {
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
        for lb in [Lb::LeastRequest, Lb::RoundRobin, Lb::Random] {
            let endpoints = [endpoint(1), endpoint(2)];
            let view = view(
                &Arc::new(BackendPolicy { lb, ..BackendPolicy::default() }),
                &Arc::<Line>::default(),
                &endpoints.iter().collect::<Vec<_>>(),
                None,
                0,
            );
            // The first is dead and idle, the other has everything to do.
            let _busy: Vec<_> = (0..20).map(|_| view.members[1].state.enter()).collect();
            let tried = [view.members[0].state.clone()];
            for _ in 0..10_000 {
                let picked = view.pick(None, &tried, Ledger::Live, &mut rng).expect("two serve");
                assert!(!Arc::ptr_eq(&picked.member.state, &tried[0]), "{lb:?}");
            }
            let both = [tried[0].clone(), view.members[1].state.clone()];
            assert!(view.pick(None, &both, Ledger::Live, &mut rng).is_some(), "with no other, a tried one");
        }
    }
}
