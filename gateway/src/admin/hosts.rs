//! `/clusters` as Envoy prints it: a backend's limits, and each of its endpoints with counts, health and place (contract/envoy.md 2.6).
//!
//! A backend is one of those that routes send to; limits that are not set are the largest number, as under Istio.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use isthmus_core::balance::{Member, Slot};
use isthmus_core::model::Health;

use crate::observe::Traffic;

/// The page.
pub(crate) fn text(slots: &[Arc<Slot>], traffic: &Traffic) -> String {
    slots.iter().fold(String::new(), |mut page, slot| {
        backend(&mut page, slot, traffic);
        page
    })
}

fn backend(page: &mut String, slot: &Arc<Slot>, traffic: &Traffic) {
    let view = slot.view.load();
    let mut line = |place: &str, name: &str, value: &dyn std::fmt::Display| {
        // A String takes every write.
        let _ = writeln!(page, "{}::{place}::{name}::{value}", slot.name);
    };
    let usage = slot.usage();
    for (name, usage) in [
        ("max_connections", usage.connections),
        ("max_pending_requests", usage.pending),
        ("max_requests", usage.requests),
        ("max_retries", usage.retries),
    ] {
        line("default_priority", name, &usage.limit.unwrap_or(u32::MAX));
    }
    let (_, counted) = traffic.of(slot).unwrap_or_default();
    let standings = view.standings();
    let priorities: HashMap<u32, u32> = standings.iter().flat_map(|s| s.members.iter().map(|i| (*i, s.priority))).collect();
    for (at, member) in (0u32..).zip(&view.members) {
        let host = &*member.address().to_string();
        let counts = counted.get(&Arc::as_ptr(&member.state).addr()).copied().unwrap_or_default();
        line(host, "cx_active", &counts.open);
        line(host, "cx_total", &counts.connections);
        line(host, "cx_connect_fail", &counts.connect_fail);
        line(host, "rq_active", &member.state.active());
        line(host, "rq_error", &counts.error);
        line(host, "rq_success", &counts.success);
        line(host, "rq_timeout", &counts.timeout);
        line(host, "rq_total", &counts.requests);
        line(host, "health_flags", &flags(member));
        line(host, "weight", &member.weight());
        let locality = &member.endpoint.workload.locality;
        line(host, "region", &locality.region());
        line(host, "zone", &locality.zone());
        line(host, "sub_zone", &locality.subzone());
        if let Some(priority) = priorities.get(&at) {
            line(host, "priority", priority);
        }
    }
}

/// Envoy's words, one after another.
fn flags(member: &Member) -> String {
    let mut flags = String::new();
    if member.state.is_ejected() {
        flags.push_str("/failed_outlier_check");
    }
    match member.endpoint.health {
        Health::Healthy => {}
        Health::Unhealthy => flags.push_str("/failed_eds_health"),
        Health::Draining => flags.push_str("/eds_status_draining"),
    }
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}
