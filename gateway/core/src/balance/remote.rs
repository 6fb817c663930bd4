//! Retries that move on to other priorities: `retryRemoteLocalities`, Envoy's previous_priorities (V-36, contract/envoy.md 6.4).
//!
//! After every two attempts the priorities of the endpoints tried are left out and the others share the traffic as their health lets them;
//! once all were tried it begins anew.

use std::sync::Arc;

use smallvec::SmallVec;

use super::slot::EndpointState;
use super::view::View;

/// After so many attempts it is looked at anew where retries may go.
const EVERY: usize = 2;

/// Which priorities a request's retries keep away from.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// How many of the endpoints tried are forgotten.
    forgotten: usize,
    excluded: SmallVec<[bool; 8]>,
    load: SmallVec<[u32; 8]>,
}

impl Remote {
    /// The percent of each priority for the next attempt after those at `tried`; `None`: as health alone has it.
    pub fn load(&mut self, view: &View, tried: &[Arc<EndpointState>]) -> Option<&[u32]> {
        let tried = tried.get(self.forgotten..).unwrap_or_default();
        if tried.len() < EVERY {
            return None;
        }
        if tried.len().is_multiple_of(EVERY) {
            self.excluded.resize(view.levels.len(), false);
            for (excluded, level) in self.excluded.iter_mut().zip(&view.levels) {
                let mut there = level.eligible().map(|i| &view.members[i as usize].state);
                *excluded |= there.any(|state| tried.iter().any(|t| Arc::ptr_eq(t, state)));
            }
            if !self.share(view) {
                self.forgotten += tried.len();
                self.excluded.fill(false);
                if !self.share(view) {
                    return None;
                }
            }
        }
        (self.load.len() == view.levels.len()).then_some(&*self.load)
    }

    /// Shares the traffic among the priorities that are not excluded; false where none of them can take any.
    fn share(&mut self, view: &View) -> bool {
        let may = |(level, excluded): (&super::Level, &bool)| if *excluded { 0 } else { level.census.available() };
        let available: SmallVec<[u32; 8]> = view.levels.iter().zip(&self.excluded).map(may).collect();
        let total = available.iter().sum::<u32>().min(100);
        if total == 0 {
            return false;
        }
        self.load = SmallVec::from_elem(0, available.len());
        let mut left = 100;
        // What rounding leaves over goes round again, to the first that can take it.
        while left > 0 {
            for (load, available) in self.load.iter_mut().zip(&available) {
                let more = (available * 100 / total).min(left);
                *load += more;
                left -= more;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::setting::Setting;
    use crate::balance::view::tests::endpoint;
    use crate::balance::{Ledger, Line, view};
    use crate::model::{Endpoint, Kin, Place, Workload};
    use isthmus_config::name::Locality;

    /// One endpoint in each of so many localities, the gateway in the first.
    fn priorities(localities: &[&str]) -> View {
        let at = |(i, locality): (usize, &&str)| {
            let workload = Workload::new("", Kin::default(), Place { locality: Locality::from(*locality), ..Place::default() });
            Arc::new(Endpoint { workload: Arc::new(workload), ..(*endpoint(i as u8 + 1)).clone() })
        };
        let endpoints: Vec<Arc<Endpoint>> = localities.iter().enumerate().map(at).collect();
        let setting = Setting::Failover { labels: vec![], regions: vec![], weighted: false };
        let stand = crate::balance::setting::Stand { locality: Locality::from(localities[0]), ..Default::default() };
        let line = Line { setting: Arc::new(setting), stand: Arc::new(stand), outlier: None };
        view(&Arc::default(), &Arc::new(line), &endpoints.iter().collect::<Vec<_>>(), None, 0)
    }

    #[test]
    fn every_two_attempts_leave_out_the_priorities_tried() {
        let view = priorities(&["r1/z1/s1", "r1/z1/s2", "r1/z2/s1"]);
        assert_eq!(view.levels.len(), 3);
        let at = |i: usize| view.members[i].state.clone();
        let mut remote = Remote::default();
        let rows: [(&[usize], Option<&[u32]>); 8] = [
            (&[], None),
            (&[0], None),
            (&[0, 0], Some(&[0, 100, 0])),
            (&[0, 0, 1], Some(&[0, 100, 0])),
            (&[0, 0, 1, 1], Some(&[0, 0, 100])),
            (&[0, 0, 1, 1, 2], Some(&[0, 0, 100])),
            (&[0, 0, 1, 1, 2, 2], Some(&[100, 0, 0])),
            (&[0, 0, 1, 1, 2, 2, 0], None),
        ];
        for (tried, want) in rows {
            let tried: Vec<_> = tried.iter().map(|i| at(*i)).collect();
            assert_eq!(remote.load(&view, &tried), want, "{} tried", tried.len());
        }
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
        for _ in 0..100 {
            let picked = view.pick_within(Some(&[0, 0, 100]), None, &[], Ledger::Peek, &mut rng).expect("an endpoint");
            assert!(picked.member.is(&view.members[2]));
        }
    }

    #[test]
    fn one_priority_is_tried_again_and_again() {
        let view = priorities(&["r1/z1/s1"]);
        let mut remote = Remote::default();
        let tried = [view.members[0].state.clone(), view.members[0].state.clone()];
        assert_eq!(remote.load(&view, &tried), Some(&[100][..]));
    }
}
