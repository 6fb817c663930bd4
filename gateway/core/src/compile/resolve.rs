//! The traffic policy of one backend, from its rule, its port and its subset (D-20..D-24).
//!
//! Blocks are replaced whole, never merged field by field (D-22). What is asked for here and comes with later work is
//! reported by `later`, not by this file.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use isthmus_config::istio::annotations;
use isthmus_config::istio::destination_rule as istio;
use isthmus_config::istio::destination_rule::{
    ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, Failover, H2UpgradePolicy, LoadBalancerSettings, LocalityLoadBalancerSetting,
    OutlierDetection, PortTrafficPolicy, RetryBudget, SimpleLb, TrafficPolicy, ZoneAwareLoadBalancerSetting,
};
use isthmus_config::mesh::MeshConfig;
use isthmus_config::object::Labels;

use super::merge::Rule;
use crate::balance::outlier::OutlierPolicy;
use crate::balance::setting::{Callers, Distribute, LabelTest, Setting};
use crate::balance::{BackendPolicy, Budget, HashKey, Keeping, Lb, Limits, Probes, UpstreamProtocol, WarmUp};
use crate::model::{Distribution, HOSTNAME, NETWORK, Protocol, REGION, SUBZONE, ZONE};

/// The blocks in force for one port and subset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effective<'a> {
    /// How an endpoint is chosen.
    pub load_balancer: Option<&'a LoadBalancerSettings>,
    /// Limits and timeouts.
    pub connection_pool: Option<&'a ConnectionPoolSettings>,
    /// When an endpoint is left out for a while.
    pub outlier_detection: Option<&'a OutlierDetection>,
    /// How connections are secured.
    pub tls: Option<&'a ClientTlsSettings>,
    /// Retries as a share of what is in flight; never of a port (D-20).
    pub retry_budget: Option<&'a RetryBudget>,
    /// The rule itself asks for outlier detection, whatever the mesh adds (L-21, D-23).
    pub guarded: bool,
    /// The rule, whose annotations ask for what Istio does not have.
    rule: Option<&'a Rule>,
}

impl<'a> Effective<'a> {
    /// Base by port (D-20), then the subset (D-21), then the mesh's defaults for what is still missing (D-23).
    pub fn of(rule: Option<&'a Rule>, subset: &str, port: u16, mesh: &'a MeshConfig) -> Self {
        let mut effective = rule.and_then(Rule::policy).map_or_else(Self::default, |top| match at_port(top, port) {
            Some(level) => Self::of_port(level),
            None => Self::of_policy(top),
        });
        if let Some(policy) = rule.and_then(|r| r.subset(subset)).and_then(|s| s.traffic_policy.as_ref()) {
            let retry_budget = policy.retry_budget.as_ref().or(effective.retry_budget);
            effective = match at_port(policy, port) {
                Some(level) => Self::of_port(level),
                None => Self::of_policy(policy).or(effective),
            };
            effective.retry_budget = retry_budget;
        }
        effective.guarded = effective.outlier_detection.is_some();
        effective.rule = rule;
        match &mesh.default_traffic_policy {
            Some(defaults) => effective.or(Self {
                connection_pool: defaults.connection_pool.as_ref(),
                outlier_detection: defaults.outlier_detection.as_ref(),
                ..Self::default()
            }),
            None => effective,
        }
    }

    fn of_policy(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            retry_budget: policy.retry_budget.as_ref(),
            ..Self::default()
        }
    }

    fn of_port(level: &'a PortTrafficPolicy) -> Self {
        Self {
            load_balancer: level.load_balancer.as_ref(),
            connection_pool: level.connection_pool.as_ref(),
            outlier_detection: level.outlier_detection.as_ref(),
            tls: level.tls.as_ref(),
            ..Self::default()
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(other.load_balancer),
            connection_pool: self.connection_pool.or(other.connection_pool),
            outlier_detection: self.outlier_detection.or(other.outlier_detection),
            tls: self.tls.or(other.tls),
            retry_budget: self.retry_budget.or(other.retry_budget),
            guarded: self.guarded,
            rule: self.rule,
        }
    }

    /// What the first of the rule's objects that has a say in it says.
    fn annotation<T>(&self, read: impl Fn(&Labels) -> Option<T>) -> Option<T> {
        self.rule?.sources.iter().find_map(|source| read(&source.meta.annotations))
    }

    fn switch(&self, key: &str) -> bool {
        self.annotation(|all| annotations::switch(all, key)).unwrap_or_default()
    }

    /// The policy that a view is made from.
    pub fn policy(&self, protocol: Protocol, mesh: &MeshConfig) -> BackendPolicy {
        const UNUSED_FOR: Duration = Duration::from_secs(3600);
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        let tcp = self.connection_pool.and_then(|p| p.tcp.as_ref());
        let http = self.connection_pool.and_then(|p| p.http.as_ref());
        let idle = http.and_then(|h| h.idle_timeout).or_else(|| tcp.and_then(|t| t.idle_timeout)).map_or(UNUSED_FOR, |d| d.0);
        BackendPolicy {
            lb: self.load_balancer.map_or(Lb::LeastRequest, lb),
            protocol: self.protocol(protocol, mesh),
            connect_timeout: tcp.and_then(|t| t.connect_timeout).unwrap_or(mesh.connect_timeout).0,
            idle_timeout: if idle.is_zero() { NEVER } else { idle },
            panic_below: self.outlier_detection.map_or(0, |o| u32::try_from(o.min_health_percent).unwrap_or(0)),
            warm_up: self.load_balancer.and_then(warm_up),
            endpoint_wait: self.annotation(annotations::endpoint_wait).unwrap_or_default().0,
            limits: self.limits(),
            keeping: self.keeping(),
        }
    }

    /// What the backend may have at once (contract 1.5).
    fn limits(&self) -> Limits {
        let tcp = self.connection_pool.and_then(|p| p.tcp.as_ref());
        let http = self.connection_pool.and_then(|p| p.http.as_ref());
        Limits {
            connections: tcp.and_then(|t| above_zero(t.max_connections)),
            pending: http.and_then(|h| above_zero(h.http1_max_pending_requests)),
            requests: http.and_then(|h| above_zero(h.http2_max_requests)),
            retries: http.and_then(|h| above_zero(h.max_retries)),
            budget: self.retry_budget.map(|b| Budget {
                thousandths: (b.percent.unwrap_or(20.0).clamp(0.0, 100.0) * 1000.0).round() as u32,
                least: if b.min_retry_concurrency == 0 { 3 } else { b.min_retry_concurrency },
                interval: b.budget_interval.unwrap_or_default().0,
            }),
        }
    }

    /// How connections are kept (contract 1.5).
    fn keeping(&self) -> Keeping {
        let tcp = self.connection_pool.and_then(|p| p.tcp.as_ref());
        let http = self.connection_pool.and_then(|p| p.http.as_ref());
        let probes = tcp.and_then(|t| t.tcp_keepalive.as_ref()).map(|k| Probes {
            count: Some(k.probes).filter(|n| *n > 0),
            after: k.time.map(|d| d.0).filter(|d| !d.is_zero()),
            every: k.interval.map(|d| d.0).filter(|d| !d.is_zero()),
        });
        let ping = http.and_then(|h| h.http2_keep_alive.as_ref()).and_then(|k| Some((k.interval?.0, k.timeout?.0)));
        Keeping {
            requests: http.and_then(|h| above_zero(h.max_requests_per_connection)),
            streams: http.and_then(|h| above_zero(h.max_concurrent_streams)),
            longest: tcp.and_then(|t| t.max_connection_duration).map(|d| d.0).filter(|d| !d.is_zero()),
            stream_idle: tcp.and_then(|t| t.idle_timeout).map(|d| d.0),
            probes,
            ping,
        }
    }

    /// The locality setting that applies: the first that is there (L-20). `wanted` is what the service itself asks for, `callers` where
    /// gateways like this one stand.
    pub fn locality(&self, mesh: &MeshConfig, wanted: Option<Distribution>, callers: &Callers) -> Setting {
        let own = self.load_balancer;
        if let Some(zoned) = own.and_then(|lb| lb.zone_aware_lb_setting.as_ref()) {
            return by_zone(zoned, callers);
        }
        if let Some(setting) = own.and_then(|lb| lb.locality_lb_setting.as_ref()) {
            return self.by_locality(setting);
        }
        if let Some(wanted) = wanted {
            return near(wanted);
        }
        if let Some(zoned) = &mesh.zone_aware_lb_setting {
            return by_zone(zoned, callers);
        }
        match &mesh.locality_lb_setting {
            Some(setting) => self.by_locality(setting),
            None => self.by_locality(&LocalityLoadBalancerSetting::default()),
        }
    }

    /// L-21..L-23.
    fn by_locality(&self, setting: &LocalityLoadBalancerSetting) -> Setting {
        if setting.enabled == Some(false) {
            return Setting::Off;
        }
        if !setting.distribute.is_empty() {
            let to = |d: &istio::Distribute| d.to.iter().map(|(pattern, percent)| (pattern.as_str().into(), *percent)).collect();
            let entries = setting.distribute.iter().map(|d| Distribute { from: d.from.as_str().into(), to: to(d) }).collect();
            return Setting::Distribute { entries, fallback: self.switch(annotations::DISTRIBUTE_FALLBACK) };
        }
        if !self.guarded {
            return Setting::Off;
        }
        let regions = regions(&setting.failover);
        let labels = LabelTest::list(&setting.failover_priority);
        Setting::Failover { weighted: !labels.is_empty() || !regions.is_empty(), labels, regions }
    }

    /// When endpoints are ejected.
    pub fn outlier(&self) -> Option<OutlierPolicy> {
        self.outlier_detection.map(|asked| OutlierPolicy { half_open: self.switch(annotations::HALF_OPEN), ..outlier(asked) })
    }

    /// In what the endpoint is spoken to (G-48). The mesh's wish for an upgrade reaches ports that are known to be HTTP.
    fn protocol(&self, port: Protocol, mesh: &MeshConfig) -> UpstreamProtocol {
        let http = self.connection_pool.and_then(|p| p.http.as_ref());
        if http.is_some_and(|h| h.use_client_protocol) {
            return UpstreamProtocol::SameAsClient;
        }
        let upgrade = match http.map_or(H2UpgradePolicy::Default, |h| h.h2_upgrade_policy) {
            H2UpgradePolicy::Upgrade => true,
            H2UpgradePolicy::DoNotUpgrade => false,
            H2UpgradePolicy::Default => port.is_http() && mesh.h2_upgrade_policy == H2UpgradePolicy::Upgrade,
        };
        if upgrade || port.is_http2() { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 }
    }
}

/// A number of Istio's API, where 0 is unset.
fn above_zero(number: i32) -> Option<u32> {
    u32::try_from(number).ok().filter(|n| *n > 0)
}

fn regions(failover: &[Failover]) -> Vec<(Arc<str>, Arc<str>)> {
    failover.iter().map(|f| (f.from.as_str().into(), f.to.as_str().into())).collect()
}

/// L-34. Fewer than six endpoints are not told apart by zone unless the setting says otherwise.
fn by_zone(setting: &ZoneAwareLoadBalancerSetting, callers: &Callers) -> Setting {
    const MINIMUM: u64 = 6;
    if setting.enabled == Some(false) {
        return Setting::Off;
    }
    Setting::Zoned {
        labels: LabelTest::list(&setting.failover_priority),
        regions: regions(&setting.failover),
        minimum: u32::try_from(setting.min_cluster_size.unwrap_or(MINIMUM)).unwrap_or(u32::MAX),
        callers: callers.clone(),
    }
}

/// What a service asks for itself works without outlier detection (L-25).
fn near(wanted: Distribution) -> Setting {
    let labels = match wanted {
        Distribution::SameZone => &[NETWORK, REGION, ZONE][..],
        Distribution::SameNode => &[NETWORK, REGION, ZONE, SUBZONE, HOSTNAME],
    };
    Setting::Failover { labels: LabelTest::list(labels), regions: Vec::new(), weighted: true }
}

/// When endpoints are ejected, in numbers (D-40, contract/envoy.md 2.1).
pub fn outlier(asked: &OutlierDetection) -> OutlierPolicy {
    OutlierPolicy {
        consecutive_5xx: asked.consecutive_5xx_errors.unwrap_or(5),
        consecutive_gateway: asked.consecutive_gateway_errors.unwrap_or(0),
        consecutive_local: asked.consecutive_local_origin_failures.unwrap_or(5),
        split: asked.split_external_local_origin_errors,
        interval: asked.interval.map_or(Duration::from_secs(10), |d| d.0),
        base: asked.base_ejection_time.map_or(Duration::from_secs(30), |d| d.0),
        max_percent: u32::try_from(asked.max_ejection_percent).ok().filter(|p| *p > 0).unwrap_or(10),
        codes: asked.outlier_detection_http_error_codes.iter().filter_map(|c| u16::try_from(*c).ok()).collect(),
        half_open: false,
    }
}

/// The port-level entry for a service port.
fn at_port(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy.port_level_settings.iter().find(|l| l.port.as_ref().is_some_and(|p| p.number == u32::from(port)))
}

fn lb(settings: &LoadBalancerSettings) -> Lb {
    if let Some(hash) = &settings.consistent_hash {
        return match (&hash.ring_hash, &hash.maglev) {
            (_, Some(maglev)) => Lb::Maglev { size: if maglev.table_size == 0 { 65_537 } else { clamp(maglev.table_size) } },
            (ring, None) => {
                let minimum = ring.as_ref().map_or(0, |r| r.minimum_ring_size).max(hash.minimum_ring_size);
                Lb::RingHash { minimum: if minimum == 0 { 1024 } else { clamp(minimum) } }
            }
        };
    }
    match settings.simple {
        Some(SimpleLb::RoundRobin) => Lb::RoundRobin,
        Some(SimpleLb::Random) => Lb::Random,
        Some(SimpleLb::Passthrough) => Lb::Passthrough,
        None | Some(SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest) => Lb::LeastRequest,
    }
}

/// How new endpoints warm up, where the policy has turns or loads to weigh (D-32).
fn warm_up(settings: &LoadBalancerSettings) -> Option<WarmUp> {
    let (window, minimum, aggression) = match &settings.warmup {
        Some(warmup) => (warmup.duration?, warmup.minimum_percent, warmup.aggression),
        None => (settings.warmup_duration_secs?, None, None),
    };
    let weighs = matches!(lb(settings), Lb::RoundRobin | Lb::LeastRequest) && !window.0.is_zero();
    weighs.then(|| WarmUp::new(window.0, minimum.unwrap_or(10.0), aggression.unwrap_or(1.0)))
}

/// Envoy's cap on hash tables.
fn clamp(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX).min(8_388_608)
}

/// The text of a request that a policy hashes; `None` where it hashes nothing, or names a header that cannot be.
fn hash_key(hash: &ConsistentHashLb) -> Option<HashKey> {
    if let Some(name) = &hash.http_header_name {
        return HeaderName::try_from(name.as_str()).ok().map(HashKey::Header);
    }
    if let Some(cookie) = &hash.http_cookie {
        return Some(HashKey::Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            ttl: cookie.ttl.map(|t| t.0),
            attributes: cookie.attributes.iter().map(|a| (a.name.clone(), a.value.clone())).collect(),
        });
    }
    if let Some(name) = &hash.http_query_parameter_name {
        return Some(HashKey::QueryParameter(name.clone()));
    }
    hash.use_source_ip.unwrap_or(false).then_some(HashKey::SourceAddress)
}

/// Where a rule says what is hashed: for which subset and port (D-31).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HashRule {
    subset: Option<String>,
    port: Option<u16>,
    key: Option<HashKey>,
}

/// Every hash policy of a rule.
pub(super) fn hash_rules(rule: &Rule) -> Vec<HashRule> {
    let mut rules = Vec::new();
    let mut take = |policy: Option<&TrafficPolicy>, subset: Option<&str>| {
        let Some(policy) = policy else { return };
        let mut one = |lb: Option<&LoadBalancerSettings>, port: Option<u32>| {
            if let Some(hash) = lb.and_then(|l| l.consistent_hash.as_ref()) {
                let port = port.map(|p| u16::try_from(p).unwrap_or(0));
                rules.push(HashRule { subset: subset.map(str::to_owned), port, key: hash_key(hash) });
            }
        };
        one(policy.load_balancer.as_ref(), None);
        for level in &policy.port_level_settings {
            one(level.load_balancer.as_ref(), Some(level.port.as_ref().map_or(0, |p| p.number)));
        }
    };
    take(rule.policy(), None);
    for subset in rule.subsets() {
        take(subset.traffic_policy.as_ref(), Some(&subset.name));
    }
    rules
}

/// Subset port level, then subset, then port level, then top level; port levels only where the route names the port (D-31).
pub(super) fn hash_for(rules: &[HashRule], subset: &str, port: Option<u16>) -> Option<HashKey> {
    let find = |subset: Option<&str>, port: Option<u16>| rules.iter().find(|r| r.subset.as_deref() == subset && r.port == port);
    let named = Some(subset).filter(|s| !s.is_empty());
    let at = |s: Option<&str>| port.and_then(|p| find(s, Some(p))).or_else(|| find(s, None));
    named.and_then(|s| at(Some(s))).or_else(|| at(None)).and_then(|r| r.key.clone())
}
