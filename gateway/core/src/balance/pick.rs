//! One pick: the endpoint for an attempt.
//!
//! Hosts tried before are passed over where the retry policy says so: up to five more draws, then the last one stands
//! (contract/envoy.md 6.4).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::RngCore;

use super::slot::{EndpointState, Slot};
use super::view::{BackendPolicy, Lb, Member, View};

/// What a decision takes from the running process, or only looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// Takes turns.
    Live,
    /// Only looks: explain and what-if.
    Peek,
}

impl Ledger {
    fn turn(self, slot: &Slot) -> u64 {
        match self {
            Self::Live => slot.cursor.fetch_add(1, Ordering::Relaxed),
            Self::Peek => slot.cursor.load(Ordering::Relaxed),
        }
    }
}

/// The endpoint chosen.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The endpoint.
    pub member: Arc<Member>,
    /// The policy of the view that it was chosen from.
    pub policy: BackendPolicy,
}

/// Draws that pass over a host tried before, after the first (V-31).
const RESELECTIONS: u32 = 5;

impl Slot {
    /// Chooses an endpoint of the present view. `hash` decides where the policy hashes; hosts in `avoid` are passed over as
    /// long as there is another. `None`: no endpoint may get traffic (503 UH).
    pub fn pick(&self, hash: Option<u64>, avoid: &[Arc<EndpointState>], ledger: Ledger, rng: &mut dyn RngCore) -> Option<Picked> {
        let view = self.view.load();
        let mut draw = 0;
        loop {
            let position = view.draw(self, hash, draw, ledger, rng)?;
            let member = &view.members[position as usize];
            let tried = avoid.iter().any(|s| Arc::ptr_eq(s, &member.state));
            if !tried || draw == RESELECTIONS {
                return Some(Picked { member: member.clone(), policy: view.policy });
            }
            draw += 1;
        }
    }
}

impl View {
    /// A position in `members`.
    fn draw(&self, slot: &Slot, hash: Option<u64>, attempt: u32, ledger: Ledger, rng: &mut dyn RngCore) -> Option<u32> {
        let n = self.eligible.len() as u64;
        if n == 0 {
            return None;
        }
        let any = |random: u64| self.eligible[(((random >> 32) * n) >> 32) as usize];
        match self.policy.lb {
            Lb::Passthrough => None,
            Lb::Random => Some(any(rng.next_u64())),
            Lb::RoundRobin => {
                let turn = ledger.turn(slot);
                Some(if self.turns.is_empty() { self.eligible[(turn % n) as usize] } else { self.turns[(turn % self.turns.len() as u64) as usize] })
            }
            Lb::RingHash { .. } | Lb::Maglev { .. } => match (hash, &self.table) {
                (Some(hash), Some(table)) => table.position(hash, attempt).map(|p| self.eligible[p as usize]),
                _ => Some(any(rng.next_u64())),
            },
            Lb::LeastRequest => {
                let mut one = || match &self.alias {
                    Some(alias) => self.eligible[alias.draw(rng.next_u64())],
                    None => any(rng.next_u64()),
                };
                let (a, b) = (one(), one());
                Some(if self.busier(a, b) { b } else { a })
            }
        }
    }

    /// True where `a` has more to do than `b`, for its weight where weights differ.
    fn busier(&self, a: u32, b: u32) -> bool {
        let load = |i: u32| u64::from(self.members[i as usize].state.active());
        if self.alias.is_none() {
            return load(a) > load(b);
        }
        let weight = |i: u32| u64::from(self.members[i as usize].endpoint.weight.max(1));
        (load(a) + 1) * weight(b) > (load(b) + 1) * weight(a)
    }
}
