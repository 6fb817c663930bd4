//! `/clusters` as Envoy prints it: a backend's limits, and each of its endpoints with counts, health and place (contract/envoy.md 2.6).
//!
//! A backend is one of those that routes send to; limits that are not set are the largest number, as under Istio.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use isthmus_core::balance::breaker::Usages;
use isthmus_core::balance::{Member, Slot};
use isthmus_core::model::{Address, Health};
use serde_json::{Map, Value, json};

use crate::observe::Traffic;

/// The page.
pub(crate) fn text(slots: &[Arc<Slot>], traffic: &Traffic) -> String {
    slots.iter().fold(String::new(), |mut page, slot| {
        backend(&mut page, slot, traffic);
        page
    })
}

fn backend(page: &mut String, slot: &Arc<Slot>, traffic: &Traffic) {
    let mut line = |place: &str, name: &str, value: &dyn std::fmt::Display| {
        // A String takes every write.
        let _ = writeln!(page, "{}::{place}::{name}::{value}", slot.key);
    };
    for (name, limit) in limits(slot) {
        line("default_priority", name, &limit);
    }
    for Host { member, counts, gauges, priority } in hosts(slot, traffic) {
        let host = &*member.address().to_string();
        let [active, requests] = gauges;
        let [connect_fail, connections, error, success, timeout, total] = counts;
        for (name, value) in [active, connections, connect_fail, requests, error, success, timeout, total] {
            line(host, name, &value);
        }
        line(host, "health_flags", &flags(&member));
        line(host, "weight", &member.weight());
        let locality = member.endpoint.workload.locality();
        line(host, "region", &locality.region());
        line(host, "zone", &locality.zone());
        line(host, "sub_zone", &locality.subzone());
        if let Some(priority) = priority {
            line(host, "priority", &priority);
        }
    }
}

/// The page as `format=json` has it: Envoy's message `Clusters`, in which what is 0 or empty is left out.
pub(crate) fn json(slots: &[Arc<Slot>], traffic: &Traffic) -> Value {
    json!({"cluster_statuses": slots.iter().map(|slot| status(slot, traffic)).collect::<Vec<_>>()})
}

fn status(slot: &Arc<Slot>, traffic: &Traffic) -> Value {
    let thresholds: Map<String, Value> = limits(slot).into_iter().map(|(name, limit)| (name.to_owned(), limit.into())).collect();
    let hosts: Vec<Value> = hosts(slot, traffic).iter().map(Host::status).collect();
    let mut status =
        json!({"name": slot.key.to_string(), "circuit_breakers": {"thresholds": [thresholds]}, "observability_name": slot.key.to_string()});
    if !hosts.is_empty() {
        status["host_statuses"] = hosts.into();
    }
    status
}

/// One endpoint.
struct Host {
    member: Member,
    counts: [(&'static str, u64); 6],
    gauges: [(&'static str, u64); 2],
    /// Where it stands in line, where it does.
    priority: Option<u32>,
}

impl Host {
    fn status(&self) -> Value {
        let endpoint = &self.member.endpoint;
        let address = match &endpoint.address {
            Address::Socket(socket) => json!({"socket_address": {"address": socket.ip().to_string(), "port_value": socket.port()}}),
            Address::Unix(path) => json!({"pipe": {"path": &**path}}),
            Address::Unresolved(name, port) => json!({"socket_address": {"address": &**name, "port_value": port}}),
            Address::Hidden(port) => json!({"socket_address": {"port_value": port}}),
        };
        let stat = |kind: Option<&str>, (name, value): (&str, u64)| {
            let mut stat = json!({"name": name});
            if let Some(kind) = kind {
                stat["type"] = kind.into();
            }
            if value > 0 {
                stat["value"] = value.to_string().into();
            }
            stat
        };
        let counts = self.counts.into_iter().map(|count| stat(None, count));
        let stats: Vec<Value> = counts.chain(self.gauges.into_iter().map(|gauge| stat(Some("GAUGE"), gauge))).collect();
        let health = match endpoint.health {
            Health::Healthy => "HEALTHY",
            Health::Unhealthy => "UNHEALTHY",
            Health::Draining => "DRAINING",
        };
        let mut status = json!({"address": address, "stats": stats, "health_status": {"eds_health_status": health}, "weight": self.member.weight()});
        if self.member.state.is_ejected() {
            status["health_status"]["failed_outlier_check"] = true.into();
        }
        let locality = endpoint.workload.locality();
        let places = [("region", locality.region()), ("zone", locality.zone()), ("sub_zone", locality.subzone())];
        for (name, place) in places.into_iter().filter(|(_, place)| !place.is_empty()) {
            status["locality"][name] = place.into();
        }
        if let Some(priority) = self.priority.filter(|priority| *priority > 0) {
            status["priority"] = priority.into();
        }
        status
    }
}

/// The limits under Envoy's names.
fn limits(slot: &Slot) -> [(&'static str, u32); 4] {
    let Usages { connections, pending, requests, retries, .. } = slot.usage();
    let named = [("max_connections", connections), ("max_pending_requests", pending), ("max_requests", requests), ("max_retries", retries)];
    named.map(|(name, usage)| (name, usage.limit.unwrap_or(u32::MAX)))
}

fn hosts(slot: &Arc<Slot>, traffic: &Traffic) -> Vec<Host> {
    let view = slot.view.load();
    let (_, counted) = traffic.of(slot).unwrap_or_default();
    let standings = view.standings();
    let priorities: HashMap<u32, u32> = standings.iter().flat_map(|s| s.members.iter().map(|i| (*i, s.priority))).collect();
    let host = |(at, member): (u32, &Member)| {
        let counts = counted.get(&Arc::as_ptr(&member.state).addr()).copied().unwrap_or_default();
        Host {
            counts: [
                ("cx_connect_fail", counts.connect_fail),
                ("cx_total", counts.connections),
                ("rq_error", counts.error),
                ("rq_success", counts.success),
                ("rq_timeout", counts.timeout),
                ("rq_total", counts.requests),
            ],
            gauges: [("cx_active", counts.open), ("rq_active", member.state.active().into())],
            priority: priorities.get(&at).copied(),
            member: member.clone(),
        }
    };
    (0u32..).zip(&view.members).map(host).collect()
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
