//! Zone-aware routing inside the first priority: each gateway sends to its own zone what that zone can take, given how many gateways stand
//! where, and the rest to zones with room (L-34, contract/envoy.md 3.5).
//!
//! Integers where Envoy has integers: shares are told in ten-thousandths.

use isthmus_config::name::Locality;

const WHOLE: u64 = 10_000;

/// The share of each locality, which sums to one; `healthy` tells how many endpoints of it may get traffic. `None`: all endpoints are
/// alike, for there are fewer than `minimum`, or fewer than two localities, or nobody knows where the gateways stand.
pub(super) fn zone_shares(own: &Locality, healthy: &[(&Locality, u32)], callers: &[(Locality, u32)], minimum: u32) -> Option<Vec<f64>> {
    let endpoints: u64 = healthy.iter().map(|(_, n)| u64::from(*n)).sum();
    let gateways: u64 = callers.iter().map(|(_, n)| u64::from(*n)).sum();
    if healthy.len() < 2 || endpoints < u64::from(minimum.max(1)) || gateways == 0 {
        return None;
    }
    let there = |locality: &Locality| callers.iter().filter(|(l, _)| l == locality).map(|(_, n)| u64::from(*n)).sum::<u64>() * WHOLE / gateways;
    let upstream: Vec<u64> = healthy.iter().map(|(_, n)| u64::from(*n) * WHOLE / endpoints).collect();
    let local: Vec<u64> = healthy.iter().map(|(locality, _)| there(locality)).collect();
    let home = healthy.iter().position(|(locality, _)| *locality == own);
    let direct = match home {
        Some(home) if upstream[home] > 0 && upstream[home] >= local[home] => WHOLE,
        Some(home) => (upstream[home] * WHOLE).checked_div(local[home]).unwrap_or(0),
        None => 0,
    };
    let room = |i: usize| if Some(i) == home { 0 } else { upstream[i].saturating_sub(local[i]) };
    let residual: u64 = (0..healthy.len()).map(room).sum();
    let across = (WHOLE - direct) as f64 / WHOLE as f64;
    let share = |i: usize| {
        let at_home = if Some(i) == home { direct as f64 / WHOLE as f64 } else { 0.0 };
        let spread = if residual == 0 { 1.0 / healthy.len() as f64 } else { room(i) as f64 / residual as f64 };
        at_home + across * spread
    };
    Some((0..healthy.len()).map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(own: &str, healthy: &[(&str, u32)], callers: &[(&str, u32)], minimum: u32) -> Option<Vec<f64>> {
        let healthy: Vec<(Locality, u32)> = healthy.iter().map(|(l, n)| (Locality::from(*l), *n)).collect();
        let callers: Vec<(Locality, u32)> = callers.iter().map(|(l, n)| (Locality::from(*l), *n)).collect();
        let healthy: Vec<(&Locality, u32)> = healthy.iter().map(|(l, n)| (l, *n)).collect();
        zone_shares(&Locality::from(own), &healthy, &callers, minimum)
    }

    #[test]
    fn zones_keep_what_they_can_take_l34() {
        let callers = [("r/a", 4), ("r/b", 4), ("r/c", 2)];
        let upstream = [("r/a", 2), ("r/b", 4), ("r/c", 2)];
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, u32)], &'a [(&'a str, u32)], u32, Option<&'a [f64]>);
        let rows: [Row<'_>; 8] = [
            ("Envoy's example: A keeps 62.5 %", "r/a", &upstream, &callers, 6, Some(&[0.625, 0.25, 0.125])),
            ("B keeps all", "r/b", &upstream, &callers, 6, Some(&[0.0, 1.0, 0.0])),
            ("C keeps all", "r/c", &upstream, &callers, 6, Some(&[0.0, 0.0, 1.0])),
            ("too few endpoints", "r/a", &upstream, &callers, 9, None),
            ("one zone only", "r/a", &upstream[..1], &callers, 1, None),
            ("nobody knows the gateways", "r/a", &upstream, &[], 6, None),
            ("no endpoint at home", "r/a", &[("r/b", 4), ("r/c", 4)], &[("r/a", 4), ("r/b", 2), ("r/c", 2)], 6, Some(&[0.5, 0.5])),
            ("nobody at home may get traffic", "r/a", &[("r/a", 0), ("r/b", 6)], &callers, 6, Some(&[0.0, 1.0])),
        ];
        for (about, own, healthy, callers, minimum, want) in rows {
            let got = shares(own, healthy, callers, minimum);
            assert_eq!(got.as_deref(), want, "{about}");
            assert!(got.is_none_or(|shares| (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9), "{about}");
        }
    }
}
