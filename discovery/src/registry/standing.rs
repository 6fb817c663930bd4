//! How each cluster stands: how far its kinds are, what stands for it, and what went wrong last.
//!
//! A cluster that was restored is served from disk until its API server has listed anew; one that is lost is stale.

use std::sync::Arc;
use std::time::Instant;

use isthmus_config::name::ClusterId;
use isthmus_config::object::Kind;
use tracing::{debug, info, warn};

use super::{PartitionState, Registry};
use crate::source::{Partition, RESTORED, SourceId, Status, Via};

/// How a cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How far it is.
    pub status: Status,
    /// What is in force of it was read from disk, at least in part.
    pub from_disk: bool,
    /// When it was lost last, by what; also after it has come back.
    pub last_error: Option<(Instant, Arc<str>)>,
    /// How often it was lost.
    pub lost: u64,
}

/// What a cluster has been through.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    last_error: Option<(Instant, Arc<str>)>,
    lost: u64,
}

/// Remote secrets that added, changed and removed a member (M-25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretEvents {
    /// Members that were not known.
    pub add: u64,
    /// Kubeconfigs that gave way to others.
    pub update: u64,
    /// Members that went.
    pub delete: u64,
}

impl Partition {
    /// True where it tells what disk has kept.
    pub(super) fn is_restored(&self) -> bool {
        self.source.1 == Via::Server && self.generation == RESTORED
    }
}

impl Registry {
    /// How far every partition is.
    pub fn statuses(&self) -> impl Iterator<Item = (&SourceId, Kind, &Status)> {
        self.partitions.iter().map(|((source, kind), p)| (source, *kind, &p.status))
    }

    /// How far a cluster is: failed if one of its partitions is, else syncing, else stale; live if all are.
    pub fn status(&self, cluster: &ClusterId) -> Status {
        let rank = |status: &Status| match status {
            Status::Failed(_) => 3,
            Status::Syncing => 2,
            Status::Stale { .. } => 1,
            Status::Live => 0,
        };
        let of_cluster = self.statuses().filter(|(source, _, _)| source.0 == *cluster).map(|(_, _, status)| status);
        of_cluster.max_by_key(|status| rank(status)).cloned().unwrap_or(Status::Syncing)
    }

    /// How a cluster stands.
    pub fn standing(&self, cluster: &ClusterId) -> Standing {
        let past = self.past.get(cluster);
        Standing {
            status: self.status(cluster),
            from_disk: self.partitions.iter().any(|((source, _), p)| source.0 == *cluster && p.from_disk),
            last_error: past.and_then(|p| p.last_error.clone()),
            lost: past.map_or(0, |p| p.lost),
        }
    }

    /// True for a cluster that is read from an API server.
    pub fn is_server(&self, cluster: &ClusterId) -> bool {
        self.settings.servers.contains_key(cluster) || self.secrets.contains_key(cluster)
    }

    /// What became of members so far.
    pub fn secret_events(&self) -> SecretEvents {
        self.secret_events
    }

    /// Remembers why a cluster is lost; `news` where it was not before.
    pub(super) fn note_loss(&mut self, partition: &Partition, reason: &str, news: bool) {
        if partition.is_restored() {
            return;
        }
        let past = self.past.entry(partition.source.0.clone()).or_default();
        past.last_error = Some((Instant::now(), reason.into()));
        past.lost += u64::from(news);
    }

    pub(super) fn lose(&mut self, partition: &Partition, reason: String) {
        if !self.settings.clusters.contains(&partition.source.0) {
            return;
        }
        let key = (partition.source.clone(), partition.kind);
        // Kinds of one source are lost together: the first one is news.
        let is_lost = |status: &Status| matches!(status, Status::Stale { .. } | Status::Failed(_));
        let news = !self.partitions.iter().any(|((source, _), p)| *source == partition.source && is_lost(&p.status));
        self.note_loss(partition, &reason, news);
        if !news {
            debug!(source = %partition.source, kind = %partition.kind, reason, "kind lost");
        } else {
            warn!(source = %partition.source, kind = %partition.kind, reason, "source lost, what is known of it stays in force");
        }
        let known = self.partitions.entry(key).or_insert_with(|| PartitionState::new(partition.generation));
        if known.generation <= partition.generation {
            known.status = match known.status {
                Status::Syncing | Status::Failed(_) => Status::Failed(reason),
                Status::Live => Status::Stale { since: Instant::now(), reason },
                Status::Stale { since, .. } => Status::Stale { since, reason },
            };
        }
        self.show_if_listed(&partition.source.0);
    }

    pub(super) fn note_back(&self, source: &SourceId) {
        if self.partitions.iter().all(|((s, _), p)| s != source || p.status == Status::Live) {
            info!(%source, "source is back");
        }
    }

    pub(super) fn resume(&mut self, partition: &Partition) {
        if let Some(state) = self.partition(partition)
            && matches!(state.status, Status::Stale { .. })
        {
            state.status = Status::Live;
            self.note_back(&partition.source);
        }
    }
}
