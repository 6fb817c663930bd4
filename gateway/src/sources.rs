//! What a scrape and readiness tell of where facts come from: clusters (M-25), and the probes of machines.

use std::time::SystemTime;

use isthmus_config::name::ClusterId;
use isthmus_discovery::{Registry, Status};

use crate::admin::name_of;
use crate::observe::{Own, utc};

/// All states that a cluster can be in.
const STATES: [&str; 4] = ["synced", "syncing", "stale", "failed"];

/// What is degraded without making us unready.
pub(crate) fn notes(registry: &Registry) -> Vec<String> {
    let told = registry.clusters().iter().filter_map(|cluster| {
        let standing = registry.standing(cluster);
        let from = if standing.from_disk { ", served from disk" } else { "" };
        match standing.status {
            Status::Live | Status::Syncing => standing.from_disk.then(|| format!("cluster {cluster} is served from disk")),
            Status::Stale { reason, .. } => Some(format!("cluster {cluster} is stale{from}: {reason}")),
            Status::Failed(reason) => Some(format!("cluster {cluster} failed: {reason}")),
        }
    });
    told.collect()
}

/// What is known of each cluster, and since when not anew; nothing where all are files and can be read.
pub(crate) fn read(registry: &Registry) -> Vec<String> {
    let lost = |cluster: &ClusterId| matches!(registry.standing(cluster).status, Status::Failed(_));
    if !registry.clusters().iter().any(|cluster| registry.is_server(cluster) || lost(cluster)) {
        return Vec::new();
    }
    let told = registry.clusters().iter().map(|cluster| {
        let standing = registry.standing(cluster);
        if !registry.is_server(cluster) {
            return match standing.status {
                Status::Failed(reason) => format!("cluster {cluster}: not known here, since its files cannot be read: {reason}"),
                Status::Live | Status::Syncing | Status::Stale { .. } => format!("cluster {cluster}: as its files have it now"),
            };
        }
        let last = standing.last_error.map(|(_, reason)| reason.to_string());
        let (instead, why) = match standing.status {
            Status::Live => return format!("cluster {cluster}: as its API server has it now"),
            Status::Stale { reason, .. } if standing.from_disk => ("as `state` has kept it".to_owned(), reason),
            Status::Stale { since, reason } => (format!("stale, as its API server had it at {}", utc(SystemTime::now() - since.elapsed())), reason),
            Status::Failed(reason) => ("not known here".to_owned(), reason),
            Status::Syncing => ("not known here".to_owned(), "not listed in time".to_owned()),
        };
        format!("cluster {cluster}: {instead}, since its API server cannot be read: {}", last.unwrap_or(why))
    });
    told.collect()
}

/// For a scrape.
pub(crate) fn gather(registry: &Registry) -> Vec<Own> {
    let all: Vec<_> = registry.clusters().iter().map(|cluster| (cluster, registry.standing(cluster))).collect();
    let name = |cluster: &ClusterId| vec![("cluster", cluster.to_string())];
    let remote = all.iter().filter(|(cluster, _)| registry.secret(cluster).is_some()).count();
    let mut own = Vec::new();
    for (kind, count) in [("local", all.len() - remote), ("remote", remote)] {
        let help = "Clusters by whether isthmus.yaml or a remote secret names them.";
        own.push(Own::Gauge("istiod_managed_clusters", help, vec![("cluster_type", kind.to_owned())], count as f64));
    }
    for (cluster, standing) in &all {
        for state in STATES {
            let labels = name(cluster).into_iter().chain([("state", state.to_owned())]).collect();
            let is = f64::from(u8::from(name_of(&standing.status) == state));
            own.push(Own::Gauge("isthmus_cluster_state", "1 for the state that a cluster is in.", labels, is));
        }
    }
    for (cluster, standing) in &all {
        let seconds = if let Status::Stale { since, .. } = standing.status { since.elapsed().as_secs_f64() } else { 0.0 };
        own.push(Own::Gauge("isthmus_cluster_stale_seconds", "For how long a cluster has not been read.", name(cluster), seconds));
    }
    for (cluster, standing) in &all {
        let is = f64::from(u8::from(standing.from_disk));
        own.push(Own::Gauge("isthmus_cluster_from_disk", "1 while what is in force of a cluster was read from disk.", name(cluster), is));
    }
    for (cluster, standing) in &all {
        own.push(Own::Counter("isthmus_cluster_lost_total", "How often a cluster could not be read any more.", name(cluster), standing.lost as f64));
    }
    let events = registry.secret_events();
    for (event, count) in [("add", events.add), ("update", events.update), ("delete", events.delete)] {
        let help = "Members that remote secrets added, changed and removed.";
        own.push(Own::Counter("remote_cluster_secret_events_total", help, vec![("event", event.to_owned())], count as f64));
    }
    let probed: Vec<_> = registry.probed().collect();
    let labels = |(cluster, entry): &isthmus_discovery::Entry| {
        vec![("cluster", cluster.to_string()), ("namespace", entry.namespace.to_string()), ("entry", entry.name.to_string())]
    };
    for (entry, probed) in &probed {
        let is = f64::from(u8::from(probed.verdict.failure.is_some()));
        own.push(Own::Gauge("isthmus_probe_failing", "1 while a WorkloadEntry fails the probe of its group.", labels(entry), is));
    }
    for (entry, probed) in &probed {
        let help = "How often a probed WorkloadEntry went from well to failing or back.";
        own.push(Own::Counter("isthmus_probe_changes_total", help, labels(entry), probed.changes as f64));
    }
    own
}
