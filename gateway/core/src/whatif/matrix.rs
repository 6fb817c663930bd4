//! Where a backend's traffic goes, by where the gateway stands: one row per place, one column per place that has endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_config::name::Locality;
use serde::{Deserialize, Serialize};

use crate::balance::{BackendKey, View};
use crate::model::Endpoint;

/// What a row and a column stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A region.
    #[default]
    Region,
    /// A zone of a region.
    Zone,
}

/// Where a backend's traffic goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// `outbound|80||host`.
    pub backend: String,
    /// What rows and columns stand for.
    pub by: By,
    /// The columns: places that have endpoints of it.
    pub to: Vec<String>,
    /// The rows: places that have endpoints of any backend, and the gateway's own.
    pub rows: Vec<MatrixRow>,
}

/// Where the traffic of gateways in one place goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// The place.
    pub from: String,
    /// By column, 0 to 1.
    pub shares: Vec<f64>,
    /// The share that nobody answers: 503 UH.
    pub unanswered: f64,
    /// Gateways in the place do not all see the same, so the row is their mean.
    pub mixed: bool,
    /// This gateway stands there.
    pub here: bool,
}

impl By {
    /// The place of a locality; `-` for one that is not told.
    fn place(self, locality: &Locality) -> String {
        let text = match self {
            Self::Region => locality.region().to_owned(),
            Self::Zone if locality.zone().is_empty() => locality.region().to_owned(),
            Self::Zone => format!("{}/{}", locality.region(), locality.zone()),
        };
        if text.is_empty() { "-".to_owned() } else { text }
    }
}

/// Every locality that has an endpoint.
pub fn localities<'e>(endpoints: impl Iterator<Item = &'e Endpoint>) -> BTreeSet<Locality> {
    let known: BTreeSet<&Locality> = endpoints.map(|e| e.workload.locality()).filter(|l| !l.is_empty()).collect();
    known.into_iter().cloned().collect()
}

impl Matrix {
    /// Makes the views of gateways at `from` and at the gateway's own place, and reads their odds.
    pub fn of(key: &BackendKey, view: &View, from: &BTreeSet<Locality>, by: By) -> Self {
        let own = &view.line.stand.locality;
        let columns: BTreeSet<String> = view.members.iter().map(|m| by.place(m.endpoint.workload.locality())).collect();
        let to: Vec<String> = columns.into_iter().collect();
        let mut places: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
        let mut from = from.clone();
        from.insert(own.clone());
        for locality in &from {
            let seen = view.seen_from(&Arc::new(view.line.stand.at(locality)));
            let mut shares = vec![0.0; to.len()];
            for (member, odds) in seen.members.iter().zip(seen.odds()) {
                if let Ok(at) = to.binary_search(&by.place(member.endpoint.workload.locality())) {
                    shares[at] += odds;
                }
            }
            places.entry(by.place(locality)).or_default().push(shares);
        }
        let rows = places.into_iter().map(|(place, seen)| row(&place, &seen, by.place(own) == place)).collect();
        Self { backend: key.to_string(), by, to, rows }
    }
}

fn row(place: &str, seen: &[Vec<f64>], here: bool) -> MatrixRow {
    let columns = seen.first().map_or(0, Vec::len);
    let shares: Vec<f64> = (0..columns).map(|i| seen.iter().map(|s| s[i]).sum::<f64>() / seen.len() as f64).collect();
    let mixed = seen.windows(2).any(|w| w[0].iter().zip(&w[1]).any(|(a, b)| (a - b).abs() > 1e-6));
    let answered: f64 = shares.iter().sum();
    MatrixRow { from: place.to_owned(), unanswered: if answered > 1.0 - 1e-6 { 0.0 } else { 1.0 - answered }, shares, mixed, here }
}
