//! Counts of backends under the names that Envoy gives them, for whoever greps for those (`docs/stats.md`).
//!
//! Every value is counted or read where it happens; what is not kept is not printed. A backend is one of those that routes send to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use isthmus_core::balance::breaker::Usage;
use isthmus_core::balance::outlier::Cause;
use isthmus_core::balance::{Limits, Slot, Tallied};
use isthmus_core::route::{Pattern, PatternError};
use serde::Deserialize;
use serde_json::json;

use crate::observe::{Counter, Traffic};

/// What Envoy calls `cluster.BACKEND.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    backend: Arc<str>,
    name: Cow<'static, str>,
    kind: Kind,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Counter,
    Gauge,
}

/// What `/stats` is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Wish {
    /// An expression that a part of the name matches.
    filter: Option<String>,
    /// `json` or `prometheus`; else text.
    pub(crate) format: Option<String>,
    /// Leave out what is 0.
    usedonly: Option<String>,
}

impl Wish {
    /// Those of `stats` that are wished for, by name.
    pub(crate) fn choose(&self, mut stats: Vec<Stat>) -> Result<Vec<Stat>, PatternError> {
        if let Some(filter) = self.filter.as_deref().filter(|filter| !filter.is_empty()) {
            // By itself first, for an expression must not reach beyond its parentheses.
            Pattern::new(filter)?;
            let part = Pattern::new(&format!("(?s:.*)(?:{filter})(?s:.*)"))?;
            stats.retain(|stat| part.matches(stat.path().as_bytes()));
        }
        stats.retain(|stat| self.usedonly.is_none() || stat.value > 0);
        stats.sort_by(|a, b| (&a.backend, &a.name).cmp(&(&b.backend, &b.name)));
        Ok(stats)
    }
}

impl Stat {
    fn path(&self) -> String {
        format!("cluster.{}.{}", self.backend, self.name)
    }
}

/// One a line, as `/stats` has it.
pub(crate) fn text(stats: &[Stat]) -> String {
    stats.iter().fold(String::new(), |mut text, stat| {
        let _ = writeln!(text, "cluster.{}.{}: {}", stat.backend, stat.name, stat.value);
        text
    })
}

/// As `/stats?format=json` has it.
pub(crate) fn json(stats: &[Stat]) -> serde_json::Value {
    json!({"stats": stats.iter().map(|stat| json!({"name": stat.path(), "value": stat.value})).collect::<Vec<_>>()})
}

/// As Prometheus reads them: `envoy_cluster_NAME{cluster_name="BACKEND"}`, status codes as labels.
pub(crate) fn prometheus(stats: &[Stat]) -> String {
    let mut families = BTreeMap::<(String, Kind), Vec<(String, u64)>>::new();
    for stat in stats {
        let backend = stat.backend.replace('\\', r"\\").replace('"', "\\\"");
        let (name, label) = match stat.name.strip_prefix("upstream_rq_").and_then(|code| Some((code, code.chars().next()?))) {
            Some((code, '1'..='5')) if code.ends_with("xx") => ("upstream_rq_xx", format!(",envoy_response_code_class=\"{}\"", &code[..1])),
            Some((code, '1'..='9')) => ("upstream_rq", format!(",envoy_response_code=\"{code}\"")),
            _ => (&*stat.name, String::new()),
        };
        let family = families.entry((format!("envoy_cluster_{}", name.replace('.', "_")), stat.kind)).or_default();
        family.push((format!("{{cluster_name=\"{backend}\"{label}}}"), stat.value));
    }
    families.into_iter().fold(String::new(), |mut text, ((name, kind), samples)| {
        let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
        text
    })
}

/// All of the backends.
pub(crate) fn all(slots: &[Arc<Slot>], traffic: &Traffic) -> Vec<Stat> {
    slots.iter().flat_map(|slot| of(slot, traffic)).collect()
}

/// Those of backends that have limits, outlier detection or had traffic, for scrapes.
pub(crate) fn noteworthy(slots: &[Arc<Slot>], traffic: &Traffic) -> Vec<Stat> {
    let wanted = |slot: &&Arc<Slot>| {
        let view = slot.view.load();
        view.policy.limits != Limits::NONE || view.line.outlier.is_some() || traffic.of(slot).is_some()
    };
    slots.iter().filter(wanted).flat_map(|slot| of(slot, traffic)).collect()
}

fn of(slot: &Arc<Slot>, traffic: &Traffic) -> Vec<Stat> {
    let mut sheet = Sheet { backend: slot.key.to_string().into(), stats: Vec::with_capacity(64) };
    sheet.limits(slot);
    sheet.traffic(slot, traffic);
    sheet.endpoints(slot);
    sheet.stats
}

struct Sheet {
    backend: Arc<str>,
    stats: Vec<Stat>,
}

impl Sheet {
    fn counter(&mut self, name: impl Into<Cow<'static, str>>, value: u64) {
        self.stats.push(Stat { backend: self.backend.clone(), name: name.into(), kind: Kind::Counter, value });
    }
    fn gauge(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<u64>) {
        self.stats.push(Stat { backend: self.backend.clone(), name: name.into(), kind: Kind::Gauge, value: value.into() });
    }

    /// What limits and permits count (contract/envoy.md 1.1).
    fn limits(&mut self, slot: &Slot) {
        let usage = slot.usage();
        let (cx, pending, rq, retry) = (usage.connections, usage.pending, usage.requests, usage.retries);
        self.gauge("upstream_cx_active", cx.used);
        self.counter("upstream_cx_total", cx.taken);
        self.counter("upstream_cx_destroy", cx.taken.saturating_sub(u64::from(cx.used)));
        self.counter("upstream_cx_overflow", cx.overflow);
        self.counter("upstream_cx_max_requests", usage.connections_served);
        self.gauge("upstream_rq_active", rq.used);
        self.counter("upstream_rq_active_overflow", rq.overflow);
        self.gauge("upstream_rq_pending_active", pending.used);
        self.counter("upstream_rq_pending_total", pending.taken);
        self.counter("upstream_rq_pending_overflow", pending.overflow);
        self.counter("upstream_rq_pending_failure_eject", usage.pending_failed);
        self.counter("upstream_rq_retry", retry.taken);
        self.counter("upstream_rq_retry_overflow", retry.overflow);
        const RESOURCES: [(&str, &str); 4] = [
            ("circuit_breakers.default.cx_open", "circuit_breakers.default.remaining_cx"),
            ("circuit_breakers.default.rq_pending_open", "circuit_breakers.default.remaining_pending"),
            ("circuit_breakers.default.rq_open", "circuit_breakers.default.remaining_rq"),
            ("circuit_breakers.default.rq_retry_open", "circuit_breakers.default.remaining_retries"),
        ];
        for ((open, remaining), usage) in RESOURCES.into_iter().zip([cx, pending, rq, retry]) {
            self.gauge(open, usage.is_open());
            if let Usage { limit: Some(limit), used, .. } = usage {
                self.gauge(remaining, limit.saturating_sub(used));
            }
        }
    }

    /// What requests came to (contract/envoy.md 1.2).
    fn traffic(&mut self, slot: &Arc<Slot>, traffic: &Traffic) {
        let (counted, _) = traffic.of(slot).unwrap_or_default();
        for (name, counter) in COUNTERS {
            self.counter(name, counted.of(counter));
        }
        let mut classes = BTreeMap::<u16, u64>::new();
        for (code, count) in counted.codes {
            self.counter(format!("upstream_rq_{code}"), count);
            *classes.entry(code / 100).or_default() += count;
        }
        for (class, count) in classes {
            self.counter(format!("upstream_rq_{class}xx"), count);
        }
    }

    /// Endpoints and what outlier detection found (contract/envoy.md 2.6).
    fn endpoints(&mut self, slot: &Slot) {
        let view = slot.view.load();
        self.gauge("membership_total", view.members.len() as u64);
        self.gauge("membership_healthy", view.members.iter().filter(|m| m.is_eligible()).count() as u64);
        // No endpoint is ever degraded, or left out of the count of health.
        self.gauge("membership_degraded", 0u64);
        self.gauge("membership_excluded", 0u64);
        let tallied = slot.tallied();
        if view.line.outlier.is_none() && tallied == Tallied::default() {
            return;
        }
        self.gauge("outlier_detection.ejections_active", slot.ejected());
        self.counter("outlier_detection.ejections_overflow", tallied.overflow);
        self.counter("outlier_detection.ejections_enforced_total", tallied.enforced.iter().sum());
        for ((cause, detected), enforced) in Cause::ALL.into_iter().zip(tallied.detected).zip(tallied.enforced) {
            self.counter(format!("outlier_detection.ejections_detected_{}", cause.as_str()), detected);
            self.counter(format!("outlier_detection.ejections_enforced_{}", cause.as_str()), enforced);
        }
        self.counter("outlier_detection.ejections_total", tallied.enforced[Cause::Consecutive5xx as usize]);
        self.counter("outlier_detection.ejections_consecutive_5xx", tallied.detected[Cause::Consecutive5xx as usize]);
    }
}

const COUNTERS: [(&str, Counter); 11] = [
    ("upstream_rq_total", Counter::Requests),
    ("upstream_rq_completed", Counter::Completed),
    ("upstream_rq_timeout", Counter::Timeout),
    ("upstream_rq_per_try_timeout", Counter::PerTryTimeout),
    ("upstream_rq_cancelled", Counter::Cancelled),
    ("upstream_rq_retry_success", Counter::RetrySuccess),
    ("upstream_rq_retry_limit_exceeded", Counter::RetryLimit),
    ("upstream_cx_none_healthy", Counter::NoneHealthy),
    ("upstream_cx_connect_fail", Counter::ConnectFail),
    ("upstream_cx_connect_timeout", Counter::ConnectTimeout),
    ("lb_healthy_panic", Counter::Panic),
];
