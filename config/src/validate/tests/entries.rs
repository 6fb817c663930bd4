//! Rules of ServiceEntry, WorkloadEntry and WorkloadGroup (contract 1.6).

use super::*;

#[test]
fn service_and_workload_entries_are_as_contract_1_6_says() {
    let base = "hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP}]";
    let entry = |rest: &str| format!("spec: {{{base}, {rest}}}");
    let ports = |ports: &str| format!("spec: {{hosts: [a.com], resolution: DNS, ports: [{ports}]}}");
    let hosts = |hosts: &str, rest: &str| format!("spec: {{hosts: [{hosts}], ports: [{{number: 80, name: http, protocol: HTTP}}], {rest}}}");
    let fixed = |endpoint: &str| entry(&format!("resolution: STATIC, endpoints: [{endpoint}]"));
    let rows = [
        (entry("resolution: NONE"), "spec: {resolution: DNS}".into(), "spec.hosts"),
        (hosts("'*.a.com'", "resolution: STATIC"), hosts("'*'", "resolution: STATIC"), "spec.hosts[0]"),
        (entry("addresses: [10.0.0.0/8]"), entry("addresses: [10.0.0.0/8], resolution: DNS"), "spec.addresses[0]"),
        (entry("addresses: ['::1']"), entry("addresses: [a]"), "spec.addresses[0]"),
        (ports("{number: 1, name: a}"), ports("{number: 0, name: a}"), "spec.ports[0].number"),
        (ports("{number: 1, name: a}, {number: 2, name: b}"), ports("{number: 1, name: a}, {number: 1, name: b}"), "spec.ports[1].number"),
        (ports("{number: 1, name: a}"), ports("{number: 1, name: a}, {number: 2, name: a}"), "spec.ports[1].name"),
        (ports("{number: 1, name: a}"), ports("{number: 1, name: a_b}"), "spec.ports[0].name"),
        (ports("{number: 1, name: a, protocol: tls}"), ports("{number: 1, name: a, protocol: QUIC}"), "spec.ports[0].protocol"),
        (ports("{number: 1, name: a, targetPort: 2}"), ports("{number: 1, name: a, targetPort: 65536}"), "spec.ports[0].targetPort"),
        (
            entry("resolution: STATIC, workloadSelector: {labels: {a: b}}"),
            entry("resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.1.1.1}]"),
            "spec.endpoints",
        ),
        (fixed("{address: 1.1.1.1}"), entry("resolution: NONE, endpoints: [{address: 1.1.1.1}]"), "spec.endpoints"),
        (fixed("{address: 1.1.1.1}"), fixed("{address: a.com}"), "spec.endpoints[0].address"),
        (fixed("{address: 'unix:///run/a'}"), fixed("{address: 'unix://run'}"), "spec.endpoints[0].address"),
        (fixed("{address: 1.1.1.1, ports: {http: 1}}"), fixed("{address: 1.1.1.1, ports: {other: 1}}"), "spec.endpoints[0].ports.other"),
        (entry("resolution: DNS, endpoints: [{address: b.com}]"), entry("resolution: DNS, endpoints: [{address: b_b}]"), "spec.endpoints[0].address"),
        (hosts("'*.a.com'", "resolution: DNS, endpoints: [{address: b.com}]"), hosts("'*.a.com'", "resolution: DNS"), "spec.hosts[0]"),
        (
            entry("resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.com}]"),
            entry("resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.com}, {address: c.com}]"),
            "spec.endpoints",
        ),
        (hosts("'*.a.com'", "resolution: DYNAMIC_DNS"), hosts("a.com", "resolution: DYNAMIC_DNS"), "spec.hosts[0]"),
        (hosts("'*.a.com'", "resolution: DYNAMIC_DNS"), hosts("'*.a.com'", "resolution: DYNAMIC_DNS, addresses: [1.1.1.1]"), "spec.addresses"),
        (
            "spec: {hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{number: 1, name: a, protocol: TLS}]}".into(),
            "spec: {hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{number: 1, name: a, protocol: TCP}]}".into(),
            "spec.ports[0].protocol",
        ),
        (
            "spec: {hosts: [a.com, b.com], ports: [{number: 1, name: a, protocol: TCP}]}".into(),
            "spec: {hosts: [a.com, b.com], resolution: STATIC, ports: [{number: 1, name: a, protocol: TCP}]}".into(),
            "spec.ports[0].protocol",
        ),
        (entry("exportTo: ['~']"), entry("exportTo: ['~', other]"), "spec.exportTo[0]"),
    ];
    check("ServiceEntry", &rows.each_ref().map(|(right, wrong, path)| (right.as_str(), wrong.as_str(), *path)));
    let accepted = [
        (hosts("'*foo.com'", "resolution: STATIC"), "IST0133", "spec.hosts[0]"),
        (entry("workloadSelector: {}"), "IST0133", "spec.workloadSelector"),
        (entry("workloadSelector: {labels: {a: b}}"), "IST0133", "spec.workloadSelector"),
        ("spec: {hosts: [a.com], ports: [{number: 1, name: a}]}".into(), "IST0134", "spec.ports[0]"),
        (fixed("{network: n}"), "IST0133", "spec.endpoints[0].address"),
    ];
    warns("ServiceEntry", &accepted.each_ref().map(|(text, code, path)| (text.as_str(), *code, *path)));
    check(
        "WorkloadEntry",
        &[
            ("spec: {address: a.com}", "spec: {}", "spec.address"),
            ("spec: {address: '::1'}", "spec: {address: 'a b'}", "spec.address"),
            ("spec: {address: 'unix://@a'}", "spec: {address: 'unix://@a', ports: {a: 1}}", "spec.ports"),
            ("spec: {address: 1.1.1.1, ports: {a: 1}}", "spec: {address: 1.1.1.1, ports: {a: 0}}", "spec.ports.a"),
            ("spec: {address: 1.1.1.1, weight: 1}", "spec: {address: 1.1.1.1, weight: -1}", "spec.weight"),
            ("spec: {address: 1.1.1.1, labels: {a: b}}", "spec: {address: 1.1.1.1, labels: {a: 1}}", "spec.labels.a"),
        ],
    );
    check(
        "WorkloadGroup",
        &[
            ("spec: {template: {}}", "spec: {}", "spec.template"),
            ("spec: {template: {}, metadata: {labels: {a: b}}}", "spec: {template: {}, metadata: {labels: {a: ' '}}}", "spec.metadata.labels.a"),
            ("spec: {template: {}, probe: {httpGet: {port: 1}}}", "spec: {template: {}, probe: {}}", "spec.probe"),
            ("spec: {template: {}, probe: {tcpSocket: {port: 1}}}", "spec: {template: {}, probe: {tcpSocket: {}}}", "spec.probe.tcpSocket.port"),
            ("spec: {template: {}, probe: {exec: {command: [a]}}}", "spec: {template: {}, probe: {exec: {}}}", "spec.probe.exec.command"),
            ("spec: {template: {}, probe: {grpc: {port: 1}}}", "spec: {template: {}, probe: {grpc: {port: 0}}}", "spec.probe.grpc.port"),
            (
                "spec: {template: {}, probe: {httpGet: {port: 1, scheme: HTTPS}}}",
                "spec: {template: {}, probe: {httpGet: {port: 1, scheme: https}}}",
                "spec.probe.httpGet.scheme",
            ),
            (
                "spec: {template: {}, probe: {periodSeconds: 1, tcpSocket: {port: 1}}}",
                "spec: {template: {}, probe: {periodSeconds: -1, tcpSocket: {port: 1}}}",
                "spec.probe.periodSeconds",
            ),
        ],
    );
}
