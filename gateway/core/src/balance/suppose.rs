//! Views as they would be: seen from another place, or with endpoints gone; and a view laid out by priority and locality.
//!
//! What is supposed here is made by the function that makes views in force, of the same members with the same state; it is looked at and
//! never published.

use std::sync::Arc;

use isthmus_config::name::Locality;

use super::locality::arrange;
use super::member::Member;
use super::priority::Census;
use super::setting::Stand;
use super::view::{Line, View, assembled, census};

/// Endpoints of one priority and locality, as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Failover tier, 0 first.
    pub priority: u32,
    /// Their locality.
    pub locality: Locality,
    /// Their weight among the localities of the priority, where localities are weighted (L-23).
    pub weight: Option<u64>,
    /// How many of them may get traffic.
    pub census: Census,
    /// The share of the backend's traffic that they get, 0 to 1.
    pub share: f64,
    /// Positions in the view's members.
    pub members: Vec<u32>,
}

impl View {
    /// The same endpoints as a gateway that stands elsewhere lines them up.
    #[must_use]
    pub fn seen_from(&self, stand: &Arc<Stand>) -> Self {
        let line = Line { stand: stand.clone(), ..(*self.line).clone() };
        assembled(self.policy.clone(), line.into(), self.members.clone(), None, 0)
    }

    /// The same backend without the endpoints that are `gone`.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&Member) -> bool) -> Self {
        let left = self.members.iter().filter(|m| !gone(m)).cloned().collect();
        assembled(self.policy.clone(), self.line.clone(), left, None, 0)
    }

    /// Who stands where, by priority and locality; endpoints that the setting leaves out stand nowhere (L-30).
    pub fn standings(&self) -> Vec<Standing> {
        let endpoints: Vec<_> = self.members.iter().map(|m| &*m.endpoint).collect();
        let arranged = arrange(&self.line.setting, &self.line.stand, &endpoints);
        let odds = self.odds();
        let standing = |group: super::locality::Group| Standing {
            priority: group.priority,
            weight: arranged.weighted.then_some(group.weight),
            census: census(group.members.iter().map(|i| &self.members[*i as usize])),
            share: group.members.iter().map(|i| odds[*i as usize]).sum(),
            locality: group.locality,
            members: group.members,
        };
        arranged.groups.into_iter().map(standing).collect()
    }
}
