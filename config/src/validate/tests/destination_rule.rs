//! Rules of DestinationRule (contract 1.5).

use super::*;

#[test]
fn a_destination_rule_is_as_contract_1_5_says() {
    let policy = |p: &str| format!("spec: {{host: a, trafficPolicy: {{{p}}}}}");
    let lb = |p: &str| policy(&format!("loadBalancer: {{{p}}}"));
    let hash = |p: &str| lb(&format!("consistentHash: {{{p}}}"));
    let pool = |p: &str| policy(&format!("connectionPool: {{{p}}}"));
    let outlier = |p: &str| policy(&format!("outlierDetection: {{{p}}}"));
    let tls = |p: &str| policy(&format!("tls: {{{p}}}"));
    let locality = |p: &str| policy(&format!("outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {{{p}}}}}"));
    let at = |rest: &str| format!("spec.trafficPolicy.{rest}");
    let rows = [
        ("spec: {host: '*'}".into(), "spec: {host: ''}".into(), "spec.host".into()),
        ("spec: {host: a, subsets: [{name: v1}]}".into(), "spec: {host: a, subsets: [{name: v1}, {name: v1}]}".into(), "spec.subsets[1].name".into()),
        ("spec: {host: a, subsets: [{name: V1}]}".into(), "spec: {host: a, subsets: [{name: v_1}]}".into(), "spec.subsets[0].name".into()),
        (
            "spec: {host: a, subsets: [{name: v, labels: {a: b}}]}".into(),
            "spec: {host: a, subsets: [{name: v, labels: {a: '-'}}]}".into(),
            "spec.subsets[0].labels.a".into(),
        ),
        (
            "spec: {host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [ns]}".into(),
            "spec: {host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*']}".into(),
            "spec.exportTo".into(),
        ),
        (
            "spec: {host: a, workloadSelector: {matchLabels: {a: b}}}".into(),
            "spec: {host: a, workloadSelector: {matchLabels: {a: '*'}}}".into(),
            "spec.workloadSelector.matchLabels.a".into(),
        ),
        (outlier(""), policy(""), "spec.trafficPolicy".into()),
        (policy("proxyProtocol: {version: V2}"), policy("proxyProtocol: {}, tunnel: {targetHost: a, targetPort: 1}"), at("proxyProtocol")),
        (
            policy("tunnel: {targetHost: a, targetPort: 1, protocol: POST}"),
            policy("tunnel: {targetHost: '*.a', targetPort: 1}"),
            at("tunnel.targetHost"),
        ),
        (policy("retryBudget: {percent: 20}"), policy("retryBudget: {percent: 101}"), at("retryBudget.percent")),
        (policy("portLevelSettings: [{port: {number: 1}, tls: {}}]"), policy("portLevelSettings: [{port: {number: 1}}]"), at("portLevelSettings[0]")),
        (policy("portLevelSettings: [{port: {number: 1}, tls: {}}]"), policy("portLevelSettings: [{tls: {}}]"), at("portLevelSettings[0].port")),
        (lb("simple: RANDOM"), lb("simple: RANDOM, consistentHash: {useSourceIp: true}"), at("loadBalancer")),
        (hash("useSourceIp: true"), hash("useSourceIp: true, httpHeaderName: a"), at("loadBalancer.consistentHash")),
        (hash("httpHeaderName: a"), hash("ringHash: {}"), at("loadBalancer.consistentHash")),
        (hash("httpCookie: {name: a, ttl: 0s}"), hash("httpCookie: {ttl: 0s}"), at("loadBalancer.consistentHash.httpCookie.name")),
        (
            hash("httpCookie: {name: a, attributes: [{name: b}]}"),
            hash("httpCookie: {name: a, attributes: [{name: b}, {name: b}]}"),
            at("loadBalancer.consistentHash.httpCookie.attributes[1].name"),
        ),
        (
            hash("useSourceIp: true, maglev: {tableSize: 65537}"),
            hash("useSourceIp: true, maglev: {}"),
            at("loadBalancer.consistentHash.maglev.tableSize"),
        ),
        (
            hash("useSourceIp: true, maglev: {tableSize: 101}"),
            hash("useSourceIp: true, maglev: {tableSize: 5000011}"),
            at("loadBalancer.consistentHash.maglev.tableSize"),
        ),
        (
            hash("useSourceIp: true, minimumRingSize: 2"),
            hash("useSourceIp: true, minimumRingSize: 2, ringHash: {}"),
            at("loadBalancer.consistentHash.minimumRingSize"),
        ),
        (lb("warmup: {duration: 1s}"), lb("warmup: {}"), at("loadBalancer.warmup.duration")),
        (
            lb("warmup: {duration: 1s, minimumPercent: 0}"),
            lb("warmup: {duration: 1s, minimumPercent: 101}"),
            at("loadBalancer.warmup.minimumPercent"),
        ),
        (lb("warmup: {duration: 1s, aggression: 0.1}"), lb("warmup: {duration: 1s, aggression: 0}"), at("loadBalancer.warmup.aggression")),
        (lb("warmupDurationSecs: 1s"), lb("warmupDurationSecs: 1s, warmup: {duration: 1s}"), at("loadBalancer.warmupDurationSecs")),
        (lb("zoneAwareLbSetting: {}"), lb("zoneAwareLbSetting: {}, localityLbSetting: {}"), at("loadBalancer.zoneAwareLbSetting")),
        (pool("tcp: {}"), pool(""), at("connectionPool")),
        (pool("tcp: {maxConnections: 0}"), pool("tcp: {maxConnections: -1}"), at("connectionPool.tcp.maxConnections")),
        (pool("tcp: {idleTimeout: 0s}"), pool("tcp: {connectTimeout: 0s}"), at("connectionPool.tcp.connectTimeout")),
        (pool("tcp: {tcpKeepalive: {time: 1s}}"), pool("tcp: {tcpKeepalive: {time: 1us}}"), at("connectionPool.tcp.tcpKeepalive.time")),
        (pool("http: {idleTimeout: 1s}"), pool("http: {idleTimeout: 0s}"), at("connectionPool.http.idleTimeout")),
        (pool("http: {maxRetries: 1}"), pool("http: {http2MaxRequests: -1}"), at("connectionPool.http.http2MaxRequests")),
        (
            pool("http: {h2UpgradePolicy: UPGRADE}"),
            pool("http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}"),
            at("connectionPool.http.useClientProtocol"),
        ),
        (
            pool("http: {http2KeepAlive: {interval: 1s, timeout: 1s}}"),
            pool("http: {http2KeepAlive: {interval: 1s}}"),
            at("connectionPool.http.http2KeepAlive.timeout"),
        ),
        (outlier("maxEjectionPercent: 100"), outlier("maxEjectionPercent: 101"), at("outlierDetection.maxEjectionPercent")),
        (outlier("minHealthPercent: 0"), outlier("minHealthPercent: '10%'"), at("outlierDetection.minHealthPercent")),
        (
            outlier("splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1"),
            outlier("consecutiveLocalOriginFailures: 1"),
            at("outlierDetection.consecutiveLocalOriginFailures"),
        ),
        (outlier("baseEjectionTime: 1ms"), outlier("interval: 0s"), at("outlierDetection.interval")),
        (
            outlier("outlierDetectionHttpErrorCodes: [599]"),
            outlier("outlierDetectionHttpErrorCodes: [600]"),
            at("outlierDetection.outlierDetectionHttpErrorCodes[0]"),
        ),
        (tls("mode: MUTUAL, clientCertificate: c, privateKey: k"), tls("mode: MUTUAL, clientCertificate: c"), at("tls.privateKey")),
        (tls("mode: SIMPLE, credentialName: c"), tls("mode: SIMPLE, credentialName: c, caCertificates: a"), at("tls.caCertificates")),
        (tls("mode: ISTIO_MUTUAL"), tls("mode: ISTIO_MUTUAL, clientCertificate: c"), at("tls.clientCertificate")),
        (
            tls("mode: MUTUAL, credentialName: c, insecureSkipVerify: true"),
            tls("mode: SIMPLE, credentialName: c, insecureSkipVerify: true"),
            at("tls.credentialName"),
        ),
        (
            locality("distribute: [{from: r1/*, to: {r1/*: 60, r2: 40}}]"),
            locality("distribute: [{from: r1/*, to: {r1/*: 60, r2: 30}}]"),
            at("loadBalancer.localityLbSetting.distribute[0].to"),
        ),
        (
            locality("distribute: [{from: r, to: {r: 100}}]"),
            locality("distribute: [{from: r, to: {r: 101}}]"),
            at("loadBalancer.localityLbSetting.distribute[0].to.r"),
        ),
        (
            locality("distribute: [{from: r/z1/*, to: {r: 100}}, {from: r/z2, to: {r: 100}}]"),
            locality("distribute: [{from: r/*, to: {r: 100}}, {from: r/z2, to: {r: 100}}]"),
            at("loadBalancer.localityLbSetting.distribute[1].from"),
        ),
        (
            locality("distribute: [{from: '*', to: {r: 100}}]"),
            locality("distribute: [{from: 'r/*/s', to: {r: 100}}]"),
            at("loadBalancer.localityLbSetting.distribute[0].from"),
        ),
        (
            locality("failover: [{from: a, to: b}]"),
            locality("failover: [{from: a, to: b}], distribute: [{from: r, to: {r: 100}}]"),
            at("loadBalancer.localityLbSetting.failover"),
        ),
        (locality("failover: [{from: a, to: b}]"), locality("failover: [{from: a, to: a}]"), at("loadBalancer.localityLbSetting.failover[0].to")),
        (locality("failover: [{from: a, to: b}]"), locality("failover: [{from: a, to: b/c}]"), at("loadBalancer.localityLbSetting.failover[0].to")),
        (locality("failover: [{from: a, to: b}]"), locality("failover: [{from: '*', to: b}]"), at("loadBalancer.localityLbSetting.failover[0].from")),
        (
            locality("failover: [{from: a, to: b}], failoverPriority: [a]"),
            locality("failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]"),
            at("loadBalancer.localityLbSetting.failoverPriority[0]"),
        ),
    ];
    check("DestinationRule", &rows.each_ref().map(|(right, wrong, path): &(String, String, String)| (right.as_str(), wrong.as_str(), path.as_str())));
    let accepted = [
        (outlier("consecutiveErrors: 1"), "IST0002", at("outlierDetection.consecutiveErrors")),
        (hash("useSourceIp: true, minimumRingSize: 2"), "IST0002", at("loadBalancer.consistentHash.minimumRingSize")),
        (tls("mode: SIMPLE"), "IST0128", at("tls")),
        (policy("portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE}}]"), "IST0129", at("portLevelSettings[0].tls")),
        (lb("localityLbSetting: {failover: [{from: a, to: b}]}"), "IST0133", at("loadBalancer.localityLbSetting")),
        (lb("simple: RANDOM, warmup: {duration: 1s}"), "IST0133", at("loadBalancer.warmup")),
        (lb("consistentHash: {useSourceIp: true}, warmupDurationSecs: 1s"), "IST0133", at("loadBalancer.warmupDurationSecs")),
        ("spec: {host: a, workloadSelector: {}}".into(), "IST0133", "spec.workloadSelector".into()),
    ];
    warns("DestinationRule", &accepted.each_ref().map(|(text, code, path): &(String, &str, String)| (text.as_str(), *code, path.as_str())));
}

#[test]
fn an_annotation_of_ours_that_cannot_be_read_is_told_with_its_line() {
    for (annotation, line) in [
        ("isthmus.io/half-open: 'yes'", Some(7)),
        ("isthmus.io/half-open: 'true'", None),
        ("isthmus.io/distribute-fallback: ''", Some(7)),
        ("isthmus.io/distribute-fallback: 'false'", None),
        ("isthmus.io/endpoint-wait: '2'", Some(7)),
        ("isthmus.io/endpoint-wait: 2s", None),
        ("isthmus.io/endpoint-wait: 61s", Some(7)),
        ("isthmus.io/half-opne: 'true'", Some(7)),
        ("example.com/half-open: 'yes'", None),
    ] {
        let text = format!("metadata:\n  name: x\n  namespace: ns\n  annotations:\n    {annotation}\nspec: {{host: a}}");
        let told: Vec<(String, u32)> = found("DestinationRule", &text)
            .into_iter()
            .inspect(|p| assert_eq!(p.code, "ISM0306"))
            .map(|p| (p.path.clone(), p.origin.spot(&p.path).line))
            .collect();
        let key = annotation.split(": ").next().expect("a key");
        let want: Vec<(String, u32)> = line.map(|line| (format!("metadata.annotations[{key:?}]"), line)).into_iter().collect();
        assert_eq!(told, want, "{annotation}");
    }
    let elsewhere = "metadata: {name: x, namespace: ns, annotations: {isthmus.io/endpoint-wait: 2s}}\nspec: {hosts: [a.com], http: [{route: [{destination: {host: a}}]}]}";
    let told: Vec<String> = found("VirtualService", elsewhere).into_iter().filter(|p| p.code == "ISM0306").map(|p| p.message).collect();
    assert_eq!(told, ["the annotation is without effect: only that of a DestinationRule counts"]);
}
