//! Admission of a DestinationRule (contract 1.5); locality settings are in `locality`.

use super::{Checker, grammar, locality};
use crate::istio::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, DestinationRule, H2UpgradePolicy, HttpSettings, LoadBalancerSettings,
    OutlierDetection, PortTrafficPolicy, SimpleLb, TcpSettings, TrafficPolicy, TunnelSettings,
};
use crate::object::{Kind, Object};
use crate::problem::{Problem, Severity};
use crate::value::Duration;

/// What is wrong with a DestinationRule by itself.
pub fn destination_rule(object: &Object<DestinationRule>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::DestinationRule, object);
    let spec = &object.spec;
    c.check("host", grammar::wildcard_domain(&spec.host));
    c.some("trafficPolicy", spec.traffic_policy.as_ref(), traffic_policy);
    c.each("subsets", &spec.subsets, |c, subset| {
        c.check("name", grammar::dns_label(&subset.name));
        c.labels("labels", &subset.labels);
        c.some("trafficPolicy", subset.traffic_policy.as_ref(), traffic_policy);
    });
    for (i, subset) in spec.subsets.iter().enumerate() {
        if spec.subsets[..i].iter().any(|earlier| earlier.name == subset.name) {
            c.nth("subsets", i, |c| c.error("name", format!("a second subset named {:?}", subset.name)));
        }
    }
    c.export_to(&spec.export_to, false);
    if let Some(selector) = &spec.workload_selector {
        c.at("workloadSelector", |c| c.selector("matchLabels", &selector.match_labels));
        if spec.export_to.iter().any(|item| item != "." && *item != *object.meta.namespace) {
            c.error("exportTo", "a rule with a workloadSelector holds for its own namespace only");
        }
    }
    unverified(&mut c, spec);
    c.problems
}

/// TLS to a server whose certificate nobody verifies (IST0128, IST0129). A credential counts where it is read for one workload.
fn unverified(c: &mut Checker<'_>, spec: &DestinationRule) {
    let is = |tls: &ClientTlsSettings| {
        let credential = !tls.credential_name.is_empty() && spec.workload_selector.is_some();
        matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) && tls.ca_certificates.is_empty() && !credential
    };
    let Some(policy) = &spec.traffic_policy else { return };
    let message = "without caCertificates the roots of the operating system decide whether the server is trusted";
    c.at("trafficPolicy", |c| {
        if policy.tls.as_ref().is_some_and(is) {
            c.report(Severity::Warning, "IST0128", "tls", message);
        }
        c.each("portLevelSettings", &policy.port_level_settings, |c, port| {
            if port.tls.as_ref().is_some_and(is) {
                c.report(Severity::Warning, "IST0129", "tls", message);
            }
        });
    });
}

fn traffic_policy(c: &mut Checker<'_>, policy: &TrafficPolicy) {
    if *policy == TrafficPolicy::default() {
        c.error("", "a traffic policy needs at least one field");
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        c.error("proxyProtocol", "cannot stand beside tunnel");
    }
    c.some("outlierDetection", policy.outlier_detection.as_ref(), outlier_detection);
    c.some("connectionPool", policy.connection_pool.as_ref(), connection_pool);
    c.some("loadBalancer", policy.load_balancer.as_ref(), |c, lb| load_balancer(c, lb, policy.outlier_detection.is_some()));
    c.some("tls", policy.tls.as_ref(), tls);
    c.at_most("portLevelSettings", policy.port_level_settings.len(), 4096);
    c.each("portLevelSettings", &policy.port_level_settings, port_policy);
    c.some("tunnel", policy.tunnel.as_ref(), tunnel);
    c.some("retryBudget", policy.retry_budget.as_ref(), |c, budget| {
        if budget.percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            c.error("percent", "expected 0 to 100");
        }
    });
}

fn port_policy(c: &mut Checker<'_>, policy: &PortTrafficPolicy) {
    match &policy.port {
        None => c.error("port", "expected a port, found none"),
        Some(port) => c.at("port", |c| c.check("number", grammar::port(port.number))),
    }
    if policy.load_balancer.is_none() && policy.connection_pool.is_none() && policy.outlier_detection.is_none() && policy.tls.is_none() {
        c.error("", "a port's policy needs one of loadBalancer, connectionPool, outlierDetection and tls");
    }
    c.some("outlierDetection", policy.outlier_detection.as_ref(), outlier_detection);
    c.some("connectionPool", policy.connection_pool.as_ref(), connection_pool);
    c.some("loadBalancer", policy.load_balancer.as_ref(), |c, lb| load_balancer(c, lb, policy.outlier_detection.is_some()));
    c.some("tls", policy.tls.as_ref(), tls);
}

/// Also a block of MeshConfig's default traffic policy.
fn outlier_detection(c: &mut Checker<'_>, outlier: &OutlierDetection) {
    if outlier.consecutive_errors != 0 {
        c.deprecated("consecutiveErrors", "is deprecated and has no effect; use consecutiveGatewayErrors or consecutive5xxErrors");
    }
    if !outlier.split_external_local_origin_errors && outlier.consecutive_local_origin_failures.unwrap_or(0) > 0 {
        c.error("consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors: true");
    }
    c.duration("interval", outlier.interval);
    c.duration("baseEjectionTime", outlier.base_ejection_time);
    c.check("maxEjectionPercent", grammar::whole_percent(outlier.max_ejection_percent));
    c.check("minHealthPercent", grammar::whole_percent(outlier.min_health_percent));
    c.each("outlierDetectionHttpErrorCodes", &outlier.outlier_detection_http_error_codes, |c, code| {
        if !(100..=599).contains(code) {
            c.error("", format!("expected a status from 100 to 599, found {code}"));
        }
    });
}

fn connection_pool(c: &mut Checker<'_>, pool: &ConnectionPoolSettings) {
    if pool.tcp.is_none() && pool.http.is_none() {
        c.error("", "a connection pool needs tcp or http");
    }
    c.some("http", pool.http.as_ref(), http_pool);
    c.some("tcp", pool.tcp.as_ref(), tcp_pool);
}

fn http_pool(c: &mut Checker<'_>, http: &HttpSettings) {
    let numbers = [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ];
    for (field, number) in numbers {
        c.check(field, grammar::not_negative(number));
    }
    c.duration("idleTimeout", http.idle_timeout);
    if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
        c.error("useClientProtocol", "cannot stand beside h2UpgradePolicy UPGRADE");
    }
    c.some("http2KeepAlive", http.http2_keep_alive.as_ref(), |c, keepalive| {
        for (field, value) in [("interval", keepalive.interval), ("timeout", keepalive.timeout)] {
            if value.is_none() {
                c.error(field, "is needed");
            }
            c.duration(field, value);
        }
    });
}

fn tcp_pool(c: &mut Checker<'_>, tcp: &TcpSettings) {
    c.check("maxConnections", grammar::not_negative(tcp.max_connections));
    c.duration("connectTimeout", tcp.connect_timeout);
    c.duration("maxConnectionDuration", tcp.max_connection_duration);
    c.duration("idleTimeout", tcp.idle_timeout.filter(|idle| *idle != Duration::default()));
    c.some("tcpKeepalive", tcp.tcp_keepalive.as_ref(), |c, keepalive| {
        c.duration("time", keepalive.time);
        c.duration("interval", keepalive.interval);
    });
}

fn load_balancer(c: &mut Checker<'_>, lb: &LoadBalancerSettings, outlier: bool) {
    let kinds = [lb.simple.is_some(), lb.consistent_hash.is_some(), lb.backend_utilization.is_some()];
    if kinds.iter().filter(|given| **given).count() > 1 {
        c.error("", "only one of simple, consistentHash and backendUtilization may be given");
    }
    if lb.simple == Some(SimpleLb::LeastConn) {
        c.deprecated("simple", "LEAST_CONN is deprecated; use LEAST_REQUEST");
    }
    c.some("consistentHash", lb.consistent_hash.as_ref(), consistent_hash);
    if lb.locality_lb_setting.is_some() && lb.zone_aware_lb_setting.is_some() {
        c.error("zoneAwareLbSetting", "cannot stand beside localityLbSetting");
    }
    c.some("localityLbSetting", lb.locality_lb_setting.as_ref(), |c, setting| locality::locality(c, setting, outlier));
    c.some("zoneAwareLbSetting", lb.zone_aware_lb_setting.as_ref(), |c, setting| locality::zone_aware(c, setting, outlier));
    if lb.warmup_duration_secs.is_some() {
        c.deprecated("warmupDurationSecs", "is deprecated; use warmup.duration");
        c.duration("warmupDurationSecs", lb.warmup_duration_secs);
        if lb.warmup.is_some() {
            c.error("warmupDurationSecs", "cannot stand beside warmup");
        }
    }
    if lb.consistent_hash.is_some() || matches!(lb.simple, Some(SimpleLb::Random | SimpleLb::Passthrough)) {
        for (field, _) in [("warmup", lb.warmup.is_some()), ("warmupDurationSecs", lb.warmup_duration_secs.is_some())].iter().filter(|(_, set)| *set)
        {
            c.warning(field, "warming up has an effect only with ROUND_ROBIN and LEAST_REQUEST");
        }
    }
    c.some("warmup", lb.warmup.as_ref(), |c, warmup| {
        if warmup.duration.is_none() {
            c.error("duration", "is needed");
        }
        c.duration("duration", warmup.duration);
        if warmup.minimum_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            c.error("minimumPercent", "expected 0 to 100");
        }
        if warmup.aggression.is_some_and(|aggression| aggression.is_nan() || aggression <= 0.0) {
            c.error("aggression", "expected more than 0");
        }
    });
}

fn consistent_hash(c: &mut Checker<'_>, hash: &ConsistentHashLb) {
    let keys = [hash.http_header_name.is_some(), hash.http_cookie.is_some(), hash.use_source_ip.is_some(), hash.http_query_parameter_name.is_some()];
    if keys.iter().filter(|given| **given).count() != 1 {
        c.error("", "expected exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName");
    }
    c.some("httpCookie", hash.http_cookie.as_ref(), |c, cookie| {
        if cookie.name.is_empty() {
            c.error("name", "a cookie needs a name");
        }
        for (i, attribute) in cookie.attributes.iter().enumerate() {
            let twice = cookie.attributes[..i].iter().any(|earlier| earlier.name == attribute.name);
            c.nth("attributes", i, |c| match attribute.name.as_str() {
                "" => c.error("name", "an attribute needs a name"),
                name if twice => c.error("name", format!("a second attribute named {name:?}")),
                _ => {}
            });
        }
    });
    if hash.ring_hash.is_some() && hash.maglev.is_some() {
        c.error("maglev", "cannot stand beside ringHash");
    }
    if hash.minimum_ring_size != 0 {
        c.deprecated("minimumRingSize", "is deprecated; use ringHash.minimumRingSize");
        if hash.ring_hash.is_some() || hash.maglev.is_some() {
            c.error("minimumRingSize", "cannot stand beside ringHash or maglev");
        }
    }
    c.some("maglev", hash.maglev.as_ref(), |c, maglev| {
        if maglev.table_size >= 5_000_011 || !is_prime(maglev.table_size) {
            c.error("tableSize", format!("expected a prime below 5000011 such as 65537, found {}", maglev.table_size));
        }
    });
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|f| f * f <= n).all(|f| !n.is_multiple_of(f))
}

fn tls(c: &mut Checker<'_>, tls: &ClientTlsSettings) {
    let files = [
        ("clientCertificate", !tls.client_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("caCrl", !tls.ca_crl.is_empty()),
    ];
    let (simple, mutual) = (tls.mode == ClientTlsMode::Simple, tls.mode == ClientTlsMode::Mutual);
    let named = !tls.credential_name.is_empty();
    if tls.mode == ClientTlsMode::IstioMutual {
        for (field, _) in files.iter().chain(&[("credentialName", named)]).filter(|(_, set)| *set) {
            c.error(field, "ISTIO_MUTUAL takes its certificates from the mesh");
        }
    }
    if tls.insecure_skip_verify == Some(true) && (simple || mutual) {
        let refused = [
            ("caCertificates", !tls.ca_certificates.is_empty()),
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("credentialName", simple && named),
        ];
        for (field, _) in refused.iter().filter(|(_, set)| *set) {
            c.error(field, "cannot stand beside insecureSkipVerify");
        }
    }
    if (simple || mutual) && named {
        for (field, _) in files.iter().filter(|(_, set)| *set) {
            c.error(field, "cannot stand beside credentialName");
        }
    } else if mutual {
        for (field, set) in &files[..2] {
            if !set {
                c.error(field, "is needed in mode MUTUAL, or credentialName");
            }
        }
    }
}

fn tunnel(c: &mut Checker<'_>, tunnel: &TunnelSettings) {
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        c.error("protocol", format!("expected CONNECT or POST, found {:?}", tunnel.protocol));
    }
    if !grammar::is_ip(&tunnel.target_host) {
        c.check("targetHost", grammar::fqdn(&tunnel.target_host));
    }
    c.check("targetPort", grammar::port(tunnel.target_port));
}
