//! How traffic spills from one priority to the next, and from one locality to another, as health goes (contract/envoy.md 3.1-3.3).
//!
//! Integers where Envoy has integers, so that the same hosts give the same shares.

/// How many hosts of a priority there are. Draining ones count nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Hosts that may get traffic, those on trial left out.
    pub healthy: u32,
    /// Hosts on trial after an ejection: each counts as one in ten.
    pub on_trial: u32,
    /// All hosts.
    pub total: u32,
}

impl Census {
    /// The healthy share, times `by`.
    fn health(self, by: f64) -> f64 {
        (by * f64::from(self.healthy) + by * f64::from(self.on_trial) / ON_TRIAL) / f64::from(self.total.max(1))
    }
    /// How much of the traffic it could take, in percent; integers, as Envoy has it, where nobody is on trial.
    pub(super) fn available(self) -> u32 {
        let whole = (OVERPROVISIONING * self.healthy).checked_div(self.total).unwrap_or(0);
        let available = if self.on_trial == 0 { whole } else { (self.health(f64::from(OVERPROVISIONING)) as u32).max(1) };
        available.min(100)
    }
}

/// What each priority gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Percent of the traffic, by priority; sums to 100 unless there is no priority.
    pub load: Vec<u32>,
    /// Priorities whose health is ignored.
    pub panic: Vec<bool>,
}

/// A priority takes all while its healthy share times this, in percent, reaches 100 (L-26).
const OVERPROVISIONING: u32 = 140;
/// Of how many healthy hosts one on trial is worth one part.
const ON_TRIAL: f64 = 10.0;

/// The shares of the priorities. `panic_below` is a percentage of healthy hosts; 0 never panics (D-42).
pub fn shares(census: &[Census], panic_below: f64) -> Shares {
    let available: Vec<u32> = census.iter().map(|c| c.available()).collect();
    let total = available.iter().sum::<u32>().min(100);
    let panic: Vec<bool> = census.iter().map(|c| total < 100 && f64::from(c.healthy) * 100.0 < panic_below * f64::from(c.total.max(1))).collect();
    if census.is_empty() {
        return Shares::default();
    }
    if total == 0 {
        return Shares { load: without_health(census, &panic), panic };
    }
    let mut left = 100;
    let mut load: Vec<u32> = available
        .iter()
        .map(|a| {
            let share = (a * 100 / total).min(left);
            left -= share;
            share
        })
        .collect();
    if let Some(first) = available.iter().position(|a| *a > 0) {
        load[first] += left;
    }
    Shares { load, panic }
}

/// The shares where all priorities after the first are a reserve: they get nothing while anybody of the first may get traffic.
pub fn with_reserve(census: &[Census], panic_below: f64) -> Shares {
    match census {
        [first, rest @ ..] if first.healthy > 0 => {
            let mut shares = shares(&[*first], panic_below);
            shares.load.resize(1 + rest.len(), 0);
            shares.panic.resize(1 + rest.len(), false);
            shares
        }
        all => shares(all, panic_below),
    }
}

/// Nothing is healthy: in total panic traffic goes by host count, else all to the first priority, which refuses it.
fn without_health(census: &[Census], panic: &[bool]) -> Vec<u32> {
    let hosts: u32 = census.iter().map(|c| c.total).sum();
    if hosts == 0 || !panic.iter().all(|p| *p) {
        return (0..census.len()).map(|i| if i == 0 { 100 } else { 0 }).collect();
    }
    let mut load: Vec<u32> = census.iter().map(|c| 100 * c.total / hosts).collect();
    let left = 100 - load.iter().sum::<u32>();
    if let Some(first) = census.iter().position(|c| c.total > 0) {
        load[first] += left;
    }
    load
}

/// A locality's weight once its health is counted in: kept whole down to 5/7 healthy, then in proportion.
pub fn effective_weight(weight: u64, census: Census) -> f64 {
    if census.total == 0 {
        return 0.0;
    }
    weight as f64 * census.health(1.4).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(healthy: u32, total: u32) -> Census {
        Census { healthy, total, ..Census::default() }
    }

    fn load(hosts: &[(u32, u32)], panic_below: f64) -> Vec<u32> {
        shares(&hosts.iter().map(|(healthy, total)| census(*healthy, *total)).collect::<Vec<_>>(), panic_below).load
    }

    #[test]
    fn spill_is_envoys_table() {
        type Row<'a> = (u32, &'a [(u32, u32)], f64, &'a [u32]);
        let rows: [Row<'_>; 14] = [
            (1, &[(8, 10), (1, 1)], 0.0, &[100, 0]),
            (2, &[(7, 10), (10, 10)], 0.0, &[98, 2]),
            (3, &[(3, 5), (5, 5)], 0.0, &[84, 16]),
            (4, &[(2, 3), (3, 3)], 0.0, &[93, 7]),
            (5, &[(1, 2), (2, 2)], 0.0, &[70, 30]),
            (6, &[(1, 3), (3, 3)], 0.0, &[46, 54]),
            (7, &[(4, 7), (4, 7)], 0.0, &[80, 20]),
            (8, &[(1, 4), (1, 4), (4, 4)], 0.0, &[35, 35, 30]),
            (9, &[(1, 4), (1, 4)], 0.0, &[50, 50]),
            (11, &[(0, 3), (0, 6)], 50.0, &[34, 66]),
            (12, &[(0, 3), (0, 3)], 0.0, &[100, 0]),
            (13, &[(0, 0), (4, 4)], 0.0, &[0, 100]),
            (17, &[(6, 9), (4, 4)], 0.0, &[93, 7]),
            (26, &[(2, 4), (4, 4)], 0.0, &[70, 30]),
        ];
        for (row, hosts, panic_below, want) in rows {
            assert_eq!(load(hosts, panic_below), want, "row {row}");
        }
    }

    #[test]
    fn a_reserve_waits_for_the_last_of_the_first() {
        let load = |hosts: &[(u32, u32)]| with_reserve(&hosts.iter().map(|(healthy, total)| census(*healthy, *total)).collect::<Vec<_>>(), 0.0).load;
        assert_eq!(load(&[(1, 4), (4, 4)]), [100, 0]);
        assert_eq!(load(&[(0, 4), (2, 4), (4, 4)]), [0, 70, 30]);
        assert_eq!(load(&[(0, 4)]), [100]);
    }

    #[test]
    fn a_host_on_trial_counts_as_one_in_ten() {
        let load = |first: Census| shares(&[first, census(4, 4)], 0.0).load;
        assert_eq!(load(Census { healthy: 0, on_trial: 1, total: 1 }), [14, 86]);
        assert_eq!(load(Census { healthy: 1, on_trial: 1, total: 2 }), [77, 23]);
        assert_eq!(load(Census { healthy: 0, on_trial: 1, total: 100 }), [1, 99], "it gets a chance, however small");
        assert_eq!(shares(&[Census { healthy: 0, on_trial: 1, total: 2 }], 0.0).load, [100], "who else");
        assert_eq!(with_reserve(&[Census { healthy: 0, on_trial: 1, total: 1 }, census(4, 4)], 0.0).load, [14, 86]);
    }

    #[test]
    fn panic_is_below_the_threshold_only_d42() {
        let panics = |healthy, total, below| shares(&[census(healthy, total)], below).panic[0];
        assert!(panics(4, 10, 50.0) && !panics(5, 10, 50.0));
        assert!(!panics(0, 10, 0.0), "0 never panics");
        assert!(!panics(8, 10, 90.0), "not while a priority can take everything");
    }

    #[test]
    fn localities_lose_weight_below_five_sevenths() {
        let split = |localities: &[(u64, u32, u32)]| {
            let weights: Vec<f64> = localities.iter().map(|(w, healthy, total)| effective_weight(*w, census(*healthy, *total))).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| (w / sum * 1000.0).round() as u32).collect::<Vec<_>>()
        };
        assert_eq!(split(&[(1, 4, 4), (2, 4, 4)]), [333, 667]);
        assert_eq!(split(&[(1, 4, 4), (2, 2, 4)]), [417, 583]);
        assert_eq!(split(&[(50, 2, 2), (50, 0, 2)]), [1000, 0]);
        assert_eq!(split(&[(80, 3, 5), (20, 1, 1)]), [771, 229]);
        assert_eq!(split(&[(99, 5, 7), (1, 1, 1)]), [990, 10]);
        assert_eq!(split(&[(70, 1, 4), (20, 1, 1), (10, 1, 1)]), [450, 367, 183]);
    }
}
