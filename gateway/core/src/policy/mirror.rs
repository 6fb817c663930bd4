//! Copies of requests, sent and forgotten (V-43).

use isthmus_config::istio::virtual_service::{HttpMirrorPolicy, HttpRoute};

use super::Share;

/// One receiver of copies. `D` is the destination in whatever form the owner resolves it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror<D> {
    /// Who gets the copies.
    pub destination: D,
    /// Of how many requests; each mirror is drawn by itself.
    pub share: Share,
}

/// The share of a rule's `mirror`: all where nothing is said, and `None` where an explicit zero turns it off.
fn of_rule(rule: &HttpRoute) -> Option<Share> {
    let share = match (rule.mirror_percentage, rule.mirror_percent) {
        (Some(percent), _) => Share::of(percent),
        (None, Some(whole)) => Share::of_whole(i64::from(whole)),
        (None, None) => Share::ALL,
    };
    Some(share).filter(|share| *share > Share::NONE)
}

/// The share of one of a rule's `mirrors`.
fn of_policy(policy: &HttpMirrorPolicy) -> Option<Share> {
    Some(policy.percentage.map_or(Share::ALL, Share::of)).filter(|share| *share > Share::NONE)
}

impl Mirror<isthmus_config::istio::virtual_service::Destination> {
    /// The mirrors of a rule that are on, as written.
    pub fn of(rule: &HttpRoute) -> Vec<Self> {
        let one = rule.mirror.as_deref().into_iter().filter_map(|destination| Some((destination, of_rule(rule)?)));
        let many = rule.mirrors.iter().filter_map(|policy| Some((&policy.destination, of_policy(policy)?)));
        one.chain(many).map(|(destination, share)| Self { destination: destination.clone(), share }).collect()
    }
}

impl<D> Mirror<D> {
    /// The same mirror with its destination resolved.
    pub fn map<E>(self, resolve: impl FnOnce(D) -> E) -> Mirror<E> {
        Mirror { destination: resolve(self.destination), share: self.share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_config::istio::virtual_service::Destination;
    use isthmus_config::value::Percent;

    #[test]
    fn shares_of_mirrors_v43_ex_44() {
        let to = |host: &str| Destination { host: host.into(), ..Destination::default() };
        let percent = |value| Some(Percent { value });
        for (about, percentage, whole, want) in [
            ("Ex 44: nothing said", None, None, Some(1_000_000)),
            ("Ex 44: zero", percent(0.0), None, None),
            ("Ex 44: a tenth of a percent", percent(0.1), None, Some(1000)),
            ("the deprecated form", None, Some(50), Some(500_000)),
            ("the deprecated form, zero", None, Some(0), None),
            ("the new form wins", percent(10.0), Some(50), Some(100_000)),
        ] {
            let rule = HttpRoute { mirror: Some(Box::new(to("m"))), mirror_percentage: percentage, mirror_percent: whole, ..HttpRoute::default() };
            assert_eq!(Mirror::of(&rule).first().map(|m| m.share.per_million()), want, "{about}");
        }
        let policies = [("a", None), ("b", percent(0.0)), ("c", percent(5.0))];
        let mirrors = policies.map(|(host, percentage)| HttpMirrorPolicy { destination: to(host), percentage }).to_vec();
        let got = Mirror::of(&HttpRoute { mirrors, ..HttpRoute::default() });
        assert_eq!(got.iter().map(|m| (m.destination.host.as_str(), m.share.per_million())).collect::<Vec<_>>(), [("a", 1_000_000), ("c", 50_000)]);
    }
}
