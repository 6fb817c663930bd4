//! What only a running gateway knows: connections that take longer than a policy allows for, HTTP on a port that carries bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use isthmus_config::object::Kind;
use isthmus_config::problem::{Problem, Severity};

use super::policies::blocks;
use super::{Scene, code, finding};
use crate::balance::{Member, Slot};
use crate::snapshot::Front;

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let slots = scene.compiler.slots();
    for slot in &slots {
        if let Some(message) = hasty(slot, &slots) {
            problems.extend(too_short(scene, slot, message));
        }
    }
    for listener in scene.compiler.snapshot().iter().flat_map(|s| &s.listeners) {
        let Front::Tcp(tcp) = &listener.front else { continue };
        let heard = tcp.destinations.list.iter().filter_map(|d| d.slot.as_ref().ok()).any(|slot| slot.hears_http());
        let Some(server) = listener.servers.first().filter(|_| heard) else { continue };
        let message = format!(
            "clients speak HTTP on port {}, which is declared TCP: requests are not told apart, so there are no routes, no retries and no ejection by 5xx",
            server.port
        );
        let problem = Problem::new(Severity::Warning, code::TCP_NAMED_HTTP, message).of(server.gateway.clone(), &server.origin);
        problems.push(problem.at(format!("spec.servers[{}].port.protocol", server.index)).hint("set protocol: HTTP"));
    }
}

/// So many connections in a row that took too long are no accident.
const LATE: u32 = 3;

/// A `connectTimeout` of less than twice what connecting takes gives up connections that would be made. Where none is ever made, what connecting takes
/// in the same places tells.
fn hasty(slot: &Slot, all: &[Arc<Slot>]) -> Option<String> {
    let limit = slot.view.load().policy.connect_timeout;
    let is_long = |measured: &Duration| *measured * 2 > limit;
    let outcome = format!("and connectTimeout is {}: connections are given up that would be made", rounded(limit));
    if let Some(measured) = slot.connect_time().filter(is_long) {
        return Some(format!("connecting to {} has taken {} of late, {outcome}", slot.key, rounded(measured)));
    }
    let late = slot.late_connects();
    if late < LATE {
        return None;
    }
    let times = all.iter().filter(|other| stand_together(slot, other)).filter_map(|other| Some((other, other.connect_time()?)));
    let (other, measured) = times.max_by_key(|(_, measured)| *measured).filter(|(_, measured)| is_long(measured))?;
    let taken = format!("connecting to {}, in the same place, takes {}", other.key, rounded(measured));
    Some(format!("nothing connects to {} in time, {late} in a row did not; {taken}, {outcome}", slot.key))
}

/// True where endpoints of both stand in one locality of one cluster.
fn stand_together(one: &Slot, other: &Slot) -> bool {
    let (one, other) = (one.view.load(), other.view.load());
    let place = |m: &Member| (m.endpoint.workload.cluster().clone(), m.endpoint.workload.locality().clone());
    let places: HashSet<_> = one.members.iter().map(&place).collect();
    other.members.iter().any(|m| places.contains(&place(m)))
}

/// The finding, at the rule in force that says so; else it is the mesh's.
fn too_short(scene: &Scene<'_>, slot: &Slot, message: String) -> Option<Problem> {
    let limit = slot.view.load().policy.connect_timeout;
    let world = scene.world;
    let service = world.catalog.services.get(&slot.key.host)?;
    // The most special comes last.
    let rule = scene.compiler.rules().find(world, service);
    let sources = rule.iter().flat_map(|r| r.contributors(&slot.key.subset));
    let places = sources.flat_map(|source| blocks(&source.spec).into_iter().map(move |b| (source, b)));
    let ours = places.filter(|(_, b)| {
        let asked = b.pool.and_then(|p| p.tcp.as_ref()).and_then(|t| t.connect_timeout);
        asked.is_some_and(|t| t.0 == limit)
            && b.port.is_none_or(|p| p == u32::from(slot.key.port))
            && b.subset.is_none_or(|s| s.name == *slot.key.subset)
    });
    let problem = match ours.last() {
        Some((source, b)) => {
            finding(Severity::Warning, code::HASTY, message, Kind::DestinationRule, source, format!("{}.connectionPool.tcp.connectTimeout", b.path))
        }
        None => Problem::new(Severity::Warning, code::HASTY, message).of(service.object.clone(), &service.origin).at("metadata.name"),
    };
    Some(problem.hint("raise connectTimeout to several times what connecting takes"))
}

/// To three digits, as people say it.
fn rounded(time: Duration) -> String {
    let unit = [1_000_000_000u128, 1_000_000, 1_000, 1].into_iter().find(|u| time.as_nanos() >= *u).unwrap_or(1);
    let step = (unit / 100).max(1);
    format!("{:?}", Duration::from_nanos(u64::try_from(time.as_nanos() / step * step).unwrap_or(u64::MAX)))
}
