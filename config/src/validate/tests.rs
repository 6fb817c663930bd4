//! The admission rules as tables: the wrong input beside the right one, and the field that is named.

use std::sync::Arc;

use super::*;
use crate::name::ClusterId;
use crate::parse::parse;

fn found(kind: &str, text: &str) -> Vec<Problem> {
    let version = if kind == "EnvoyFilter" { "v1alpha3" } else { "v1" };
    let metadata = if text.starts_with("metadata") { "" } else { "metadata: {name: x, namespace: ns}\n" };
    let text = format!("apiVersion: networking.istio.io/{version}\nkind: {kind}\n{metadata}{text}\n");
    let parsed = parse(text.as_bytes(), &ClusterId::default(), &Arc::from("f.yaml"));
    let mut problems = parsed.problems;
    problems.extend(parsed.documents.iter().flat_map(validate));
    problems
}

/// Each row: the right input, the wrong one, the path of the one error it has.
fn check(kind: &str, rows: &[(&str, &str, &str)]) {
    for (right, wrong, path) in rows {
        let errors = |text| found(kind, text).into_iter().filter(|p| p.severity == Severity::Error).map(|p| p.path).collect::<Vec<_>>();
        assert_eq!(errors(right), Vec::<String>::new(), "{kind} {right}");
        assert_eq!(errors(wrong), [*path], "{kind} {wrong}");
    }
}

/// Each row: an accepted input, and the code and path of one thing told about it.
fn warns(kind: &str, rows: &[(&str, &str, &str)]) {
    for (text, code, path) in rows {
        let problems = found(kind, text);
        assert!(!problems.iter().any(|p| p.severity == Severity::Error), "{kind} {text}: {problems:?}");
        assert!(problems.iter().any(|p| p.code == *code && p.path == *path), "{kind} {text}: {problems:?}");
    }
}

const HTTP: &str = "{number: 80, name: http, protocol: HTTP}";
const HTTPS: &str = "{number: 443, name: https, protocol: HTTPS}";

fn server(port: &str, rest: &str) -> String {
    format!("spec: {{servers: [{{hosts: [a.com], port: {port}{rest}}}]}}")
}

#[test]
fn a_gateway_is_as_contract_1_3_says() {
    let host = |host: &str| format!("spec: {{servers: [{{hosts: ['{host}'], port: {HTTP}}}]}}");
    let port = |port: &str| server(port, "");
    let tls = |tls: &str| server(HTTPS, &format!(", tls: {{{tls}}}"));
    let simple = tls("mode: SIMPLE, credentialName: c");
    let rows = [
        (port(HTTP), "spec: {}".into(), "spec.servers"),
        (
            port(HTTP),
            "metadata: {name: a.b}\nspec: {servers: [{hosts: [a.com], port: {number: 80, name: h, protocol: HTTP}}]}".into(),
            "metadata.name",
        ),
        (port(HTTP), format!("spec: {{selector: {{a: ''}}, servers: [{{hosts: [a.com], port: {HTTP}}}]}}"), "spec.selector.a"),
        (port(HTTP), port("{number: 70000, name: http, protocol: HTTP}"), "spec.servers[0].port.number"),
        (port("{number: 80, name: http, protocol: grpc-web}"), port("{number: 80, name: http, protocol: HTTP3}"), "spec.servers[0].port.protocol"),
        (port(HTTP), port("{number: 80, protocol: HTTP}"), "spec.servers[0].port.name"),
        (port(HTTP), port("{number: 80, name: http, protocol: HTTP, targetPort: 8080}"), "spec.servers[0].port.targetPort"),
        (port(HTTP), format!("spec: {{servers: [{{hosts: [a.com], port: {HTTP}}}, {{hosts: [b.com], port: {HTTP}}}]}}"), "spec.servers[1].port.name"),
        (server(HTTP, ", bind: '::1'"), server(HTTP, ", bind: localhost"), "spec.servers[0].bind"),
        (
            server("{number: 0, name: http, protocol: HTTP}", ", bind: 'unix:///run/a'"),
            server(HTTP, ", bind: 'unix:///run/a'"),
            "spec.servers[0].port.number",
        ),
        (
            server("{number: 0, name: http, protocol: HTTP}", ", bind: 'unix://@a'"),
            server("{number: 0, name: http, protocol: HTTP}", ", bind: 'unix://run'"),
            "spec.servers[0].bind",
        ),
        (host("*"), format!("spec: {{servers: [{{port: {HTTP}}}]}}"), "spec.servers[0].hosts"),
        (host("ns/*.a.com"), host("n_s/a.com"), "spec.servers[0].hosts[0]"),
        (host("./a.com"), host("short"), "spec.servers[0].hosts[0]"),
        (host("10.0.0.1"), host("*foo.com"), "spec.servers[0].hosts[0]"),
        (simple.clone(), port(HTTPS), "spec.servers[0].tls"),
        (server(HTTP, ", tls: {httpsRedirect: true}"), server(HTTP, ", tls: {mode: SIMPLE, credentialName: c}"), "spec.servers[0].tls"),
        (
            port("{number: 1, name: t, protocol: TCP}"),
            server("{number: 1, name: t, protocol: TCP}", ", tls: {mode: SIMPLE, credentialName: c}"),
            "spec.servers[0].tls",
        ),
        (tls("mode: SIMPLE, serverCertificate: c, privateKey: k"), tls("mode: SIMPLE, serverCertificate: c"), "spec.servers[0].tls.privateKey"),
        (
            tls("mode: MUTUAL, serverCertificate: c, privateKey: k, caCertificates: a"),
            tls("mode: MUTUAL, serverCertificate: c, privateKey: k"),
            "spec.servers[0].tls.caCertificates",
        ),
        (simple, tls("mode: SIMPLE, credentialName: c, serverCertificate: c, privateKey: k"), "spec.servers[0].tls"),
        (tls("mode: ISTIO_MUTUAL"), tls("mode: ISTIO_MUTUAL, credentialName: c"), "spec.servers[0].tls.credentialName"),
        (tls("mode: SIMPLE, credentialNames: [a, b]"), tls("mode: SIMPLE, credentialNames: [a, b, c]"), "spec.servers[0].tls.credentialNames"),
        (
            tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: c, privateKey: k}]"),
            tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: c}]"),
            "spec.servers[0].tls.tlsCertificates[0].privateKey",
        ),
        (
            tls("mode: MUTUAL, serverCertificate: c, privateKey: k, caCertificates: a, caCrl: r"),
            tls("mode: SIMPLE, serverCertificate: c, privateKey: k, caCrl: r"),
            "spec.servers[0].tls.caCrl",
        ),
        (tls("mode: SIMPLE, credentialName: c"), tls("mode: SIMPEL, credentialName: c"), "spec.servers[0].tls.mode"),
    ];
    check("Gateway", &rows.each_ref().map(|(right, wrong, path)| (right.as_str(), wrong.as_str(), *path)));
    let accepted = [
        (server("{number: 1, name: t, protocol: TLS}", ", tls: {mode: PASSTHROUGH, credentialName: c}"), "IST0133", "spec.servers[0].tls"),
        (tls("mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_0"), "IST0133", "spec.servers[0].tls.minProtocolVersion"),
        (tls("mode: SIMPLE, credentialName: c, cipherSuites: [NONE]"), "IST0133", "spec.servers[0].tls.cipherSuites[0]"),
        (tls("mode: SIMPLE, credentialName: c, cipherSuites: [AES128-SHA, AES128-SHA]"), "IST0133", "spec.servers[0].tls.cipherSuites[1]"),
        (tls("mode: SIMPLE, credentialName: c, httpsRedirect: true"), "IST0133", "spec.servers[0].tls.httpsRedirect"),
    ];
    warns("Gateway", &accepted.each_ref().map(|(text, code, path)| (text.as_str(), *code, *path)));
}

#[test]
fn a_virtual_service_is_as_contract_1_4_says() {
    let to = "route: [{destination: {host: a}}]";
    let spec = |fields: &str| format!("spec: {{hosts: [a.com], {fields}}}");
    let http = |rule: &str| spec(&format!("http: [{{{rule}}}]"));
    let routed = |rule: &str| http(&format!("{to}, {rule}"));
    let matched = |m: &str| routed(&format!("match: [{{{m}}}]"));
    let tls = |rule: &str| spec(&format!("gateways: [gw], tls: [{{{rule}}}]"));
    let (ok, redirect) = (http(to), |r: &str| http(&format!("redirect: {{{r}}}")));
    let rows = [
        (ok.clone(), format!("spec: {{hosts: [a_b.com], http: [{{{to}}}]}}"), "spec.hosts[0]"),
        (format!("spec: {{hosts: ['*'], gateways: [gw], http: [{{{to}}}]}}"), format!("spec: {{hosts: ['*'], http: [{{{to}}}]}}"), "spec.hosts[0]"),
        (ok.clone(), format!("spec: {{hosts: [b.a.com, '*.a.com'], http: [{{{to}}}]}}"), "spec.hosts[1]"),
        (format!("spec: {{http: [{{{to}}}]}}"), format!("spec: {{gateways: [gw], http: [{{{to}}}]}}"), "spec.gateways"),
        (
            spec(&format!("gateways: [ns/gw, ./gw, mesh], http: [{{{to}}}]")),
            spec(&format!("gateways: [a_b/gw], http: [{{{to}}}]")),
            "spec.gateways[0]",
        ),
        (ok.clone(), "spec: {hosts: [a.com]}".into(), "spec"),
        (ok.clone(), http("name: a"), "spec.http[0]"),
        (ok.clone(), routed("redirect: {uri: /}"), "spec.http[0].route"),
        (redirect("uri: /"), http("redirect: {uri: /}, fault: {abort: {httpStatus: 500}}"), "spec.http[0].fault"),
        (redirect("uri: /"), http("redirect: {uri: /}, rewrite: {uri: /}"), "spec.http[0].rewrite"),
        (http("directResponse: {status: 200}"), routed("directResponse: {status: 200}"), "spec.http[0].route"),
        (http("directResponse: {status: 503, body: {string: x}}"), http("directResponse: {status: 100}"), "spec.http[0].directResponse.status"),
        (
            http("directResponse: {status: 200, body: {bytes: aGk=}}"),
            http("directResponse: {status: 200, body: {bytes: '?'}}"),
            "spec.http[0].directResponse.body.bytes",
        ),
        (
            ok.clone(),
            format!("spec: {{hosts: [a.com], http: [{{directResponse: {{status: 200, body: {{string: '{}'}}}}}}]}}", "x".repeat((1 << 20) + 1)),
            "spec.http[0].directResponse.body",
        ),
        (http("delegate: {name: d}"), http(&format!("delegate: {{name: d}}, {to}")), "spec.http[0].route"),
        (http("delegate: {name: d, namespace: n}"), http("delegate: {name: d}, directResponse: {status: 200}"), "spec.http[0].directResponse"),
        (routed("timeout: 1.5s"), routed("timeout: 0s"), "spec.http[0].timeout"),
        (routed("timeout: 10ms"), routed("timeout: 1500us"), "spec.http[0].timeout"),
        (routed("timeout: 10ms"), routed("timeout: 10"), "spec.http[0].timeout"),
        (routed("retries: {attempts: 0}"), routed("retries: {attempts: 0, retryOn: 5xx}"), "spec.http[0].retries.attempts"),
        (
            routed("retries: {attempts: 2, retryOn: '5xx,503'}"),
            routed("retries: {attempts: 2, retryOn: '5xx, reset'}"),
            "spec.http[0].retries.retryOn",
        ),
        (
            routed("retries: {attempts: 2, perTryTimeout: 1s}"),
            routed("retries: {attempts: 2, perTryTimeout: 0s}"),
            "spec.http[0].retries.perTryTimeout",
        ),
        (routed("retries: {attempts: 2, backoff: 25ms}"), routed("retries: {attempts: 2, backoff: 1us}"), "spec.http[0].retries.backoff"),
        (ok.clone(), routed("retries: {attempts: -1}"), "spec.http[0].retries.attempts"),
        (ok.clone(), routed("fault: {}"), "spec.http[0].fault"),
        (routed("fault: {delay: {fixedDelay: 1s}}"), routed("fault: {delay: {fixedDelay: 0s}}"), "spec.http[0].fault.delay.fixedDelay"),
        (ok.clone(), routed("fault: {delay: {exponentialDelay: 1s}}"), "spec.http[0].fault.delay.exponentialDelay"),
        (routed("fault: {abort: {httpStatus: 503}}"), routed("fault: {abort: {httpStatus: 601}}"), "spec.http[0].fault.abort.httpStatus"),
        (routed("fault: {abort: {grpcStatus: NOT_FOUND}}"), routed("fault: {abort: {grpcStatus: NOPE}}"), "spec.http[0].fault.abort.grpcStatus"),
        (ok.clone(), routed("fault: {abort: {http2Error: X}}"), "spec.http[0].fault.abort.http2Error"),
        (
            routed("fault: {abort: {httpStatus: 503, percentage: {value: 0.0001}}}"),
            routed("fault: {abort: {httpStatus: 503, percentage: {value: 0.00001}}}"),
            "spec.http[0].fault.abort.percentage.value",
        ),
        (routed("mirror: {host: b}"), routed("mirror: {host: b}, mirrors: [{destination: {host: b}}]"), "spec.http[0].mirrors"),
        (
            routed("mirrors: [{destination: {host: b}, percentage: {value: 1}}]"),
            routed("mirrors: [{destination: {host: b}, percentage: {value: 101}}]"),
            "spec.http[0].mirrors[0].percentage.value",
        ),
        (routed("mirrorPercentage: {value: 100}"), routed("mirrorPercentage: {value: -1}"), "spec.http[0].mirrorPercentage.value"),
        (routed("mirror_percent: 100"), routed("mirror_percent: 101"), "spec.http[0].mirrorPercent"),
        (routed("corsPolicy: {allowOrigins: [{exact: x}]}"), routed("corsPolicy: {allowOrigins: [{}]}"), "spec.http[0].corsPolicy.allowOrigins[0]"),
        (routed("corsPolicy: {allowMethods: ['*', GET]}"), routed("corsPolicy: {allowMethods: [get]}"), "spec.http[0].corsPolicy.allowMethods[0]"),
        (routed("corsPolicy: {allowHeaders: ['*']}"), routed("corsPolicy: {exposeHeaders: ['a b']}"), "spec.http[0].corsPolicy.exposeHeaders[0]"),
        (routed("corsPolicy: {maxAge: 24h}"), routed("corsPolicy: {maxAge: 1500ms}"), "spec.http[0].corsPolicy.maxAge"),
        (
            routed("headers: {request: {set: {':authority': b}}}"),
            routed("headers: {response: {set: {host: b}}}"),
            "spec.http[0].headers.response.set.host",
        ),
        (routed("headers: {request: {remove: [a]}}"), routed("headers: {request: {remove: [':path']}}"), "spec.http[0].headers.request.remove[0]"),
        (
            routed("headers: {request: {add: {a: '%HOSTNAME% 100%%'}}}"),
            routed("headers: {request: {add: {a: '100%'}}}"),
            "spec.http[0].headers.request.add.a",
        ),
        (
            routed("rewrite: {authority: b}"),
            routed("rewrite: {authority: b}, headers: {request: {set: {Host: c}}}"),
            "spec.http[0].headers.request.set.Host",
        ),
        (routed("rewrite: {uri: /}"), routed("rewrite: {}"), "spec.http[0].rewrite"),
        (
            routed("rewrite: {uriRegexRewrite: {match: a, rewrite: b}}"),
            routed("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}"),
            "spec.http[0].rewrite.uriRegexRewrite",
        ),
        (ok.clone(), routed("rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}"), "spec.http[0].rewrite.uriRegexRewrite.match"),
        (redirect("derivePort: FROM_REQUEST_PORT"), redirect("redirectCode: 302"), "spec.http[0].redirect"),
        (redirect("uri: /, redirectCode: 308"), redirect("uri: /, redirectCode: 200"), "spec.http[0].redirect.redirectCode"),
        (redirect("scheme: https"), redirect("scheme: ftp"), "spec.http[0].redirect.scheme"),
        (redirect("port: 8443"), redirect("port: 8443, derivePort: FROM_REQUEST_PORT"), "spec.http[0].redirect.derivePort"),
        (
            http("match: [{uri: {prefix: /a}}], redirect: {prefixRewrite: /b}"),
            http("match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}"),
            "spec.http[0].redirect.prefixRewrite",
        ),
        (matched("headers: {a: {}}"), matched("headers: {a: {prefix: ''}}"), "spec.http[0].match[0].headers.a"),
        (matched("headers: {':path': {exact: /}}"), matched("headers: {'a b': {exact: x}}"), "spec.http[0].match[0].headers[\"a b\"]"),
        (matched("withoutHeaders: {a: {regex: '*'}}"), matched("headers: {a: {regex: '*'}}"), "spec.http[0].match[0].headers.a"),
        (matched("uri: {prefix: ''}"), matched("uri: {regex: '(?=a)'}"), "spec.http[0].match[0].uri"),
        (matched("uri: {regex: 'a.*'}"), matched("uri: {exact: a, prefix: b}"), "spec.http[0].match[0].uri"),
        (matched("method: {exact: GET}"), matched("method: {prefix: ''}"), "spec.http[0].match[0].method"),
        (matched("queryParams: {q: {}}"), matched("queryParams: {q: {prefix: ''}}"), "spec.http[0].match[0].queryParams.q"),
        (matched("port: 80"), matched("port: 70000"), "spec.http[0].match[0].port"),
        (matched("sourceLabels: {a: b}"), matched("sourceLabels: {a: 'b c'}"), "spec.http[0].match[0].sourceLabels.a"),
        (matched("gateways: [gw]"), matched("gateways: [a/b_c]"), "spec.http[0].match[0].gateways[0]"),
        (matched("sourceNamespace: n"), matched("sourceNamespace: n/m"), "spec.http[0].match[0].sourceNamespace"),
        (
            spec(&format!("gateways: [gw], http: [{{{to}, match: [{{headers: {{'@request.auth.claims.a': {{exact: b}}}}}}]}}]")),
            matched("headers: {'@request.auth.claims.a': {exact: b}}"),
            "spec.http[0].match[0].headers[\"@request.auth.claims.a\"]",
        ),
        (ok.clone(), http("route: [{destination: {host: '*'}}]"), "spec.http[0].route[0].destination.host"),
        (
            http("route: [{destination: {host: a, subset: v1}}]"),
            http("route: [{destination: {host: a, subset: v.1}}]"),
            "spec.http[0].route[0].destination.subset",
        ),
        (
            http("route: [{destination: {host: a, port: {number: 1}}}]"),
            http("route: [{destination: {host: a, port: {}}}]"),
            "spec.http[0].route[0].destination.port.number",
        ),
        (
            http("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}}]"),
            http("route: [{destination: {host: a}}, {destination: {host: b}}]"),
            "spec.http[0].route",
        ),
        (ok.clone(), http("route: [{destination: {host: a}, weight: -1}]"), "spec.http[0].route[0].weight"),
        (tls(&format!("match: [{{sniHosts: [a.com]}}], {to}")), tls(to), "spec.tls[0].match"),
        (
            tls(&format!("match: [{{sni_hosts: [a.com]}}], {to}")),
            tls(&format!("match: [{{sniHosts: [b.com]}}], {to}")),
            "spec.tls[0].match[0].sniHosts[0]",
        ),
        (
            tls(&format!("match: [{{sniHosts: [a.com], destinationSubnets: [10.0.0.0/8]}}], {to}")),
            tls(&format!("match: [{{sniHosts: [a.com], destinationSubnets: [10.0.0.0/33]}}], {to}")),
            "spec.tls[0].match[0].destinationSubnets[0]",
        ),
        (spec(&format!("tcp: [{{{to}}}]")), spec("tcp: [{match: [{port: 1}]}]"), "spec.tcp[0].route"),
        (ok.clone(), spec(&format!("tcp: [{{match: [{{destinationSubnets: [x]}}], {to}}}]")), "spec.tcp[0].match[0].destinationSubnets[0]"),
        (spec(&format!("http: [{{{to}}}], exportTo: ['.']")), spec(&format!("http: [{{{to}}}], exportTo: ['*', other]")), "spec.exportTo[0]"),
        (spec(&format!("http: [{{{to}}}], exportTo: [a, b]")), spec(&format!("http: [{{{to}}}], exportTo: ['.', ns]")), "spec.exportTo[1]"),
        (ok, spec(&format!("http: [{{{to}}}], exportTo: ['~']")), "spec.exportTo[0]"),
    ];
    check("VirtualService", &rows.each_ref().map(|(right, wrong, path)| (right.as_str(), wrong.as_str(), *path)));
}

#[test]
fn a_virtual_service_warns_as_contract_1_4_says() {
    let to = "route: [{destination: {host: a}}]";
    let rules = |rules: &str| format!("spec: {{hosts: [a.com], http: [{rules}]}}");
    let rows = [
        (rules(&format!("{{{to}}}, {{{to}, match: [{{port: 1}}]}}")), "IST0130", "spec.http[1]"),
        (rules(&format!("{{{to}, match: [{{name: x, port: 1}}]}}, {{{to}, match: [{{port: 1}}]}}")), "IST0131", "spec.http[1].match[0]"),
        (rules(&format!("{{{to}, match: [{{port: 1}}]}}, {{{to}, match: [{{port: 1}}]}}")), "IST0130", "spec.http[1]"),
        (
            rules(&format!("{{{to}, match: [{{uri: {{prefix: /a}}}}]}}, {{{to}, match: [{{uri: {{prefix: /ab}}}}]}}")),
            "IST0131",
            "spec.http[1].match[0]",
        ),
        (rules(&format!("{{{to}, mirrorPercent: 1}}")), "IST0002", "spec.http[0].mirrorPercent"),
        (rules(&format!("{{{to}, fault: {{delay: {{fixedDelay: 1s, percent: 1}}}}}}")), "IST0002", "spec.http[0].fault.delay.percent"),
        (rules(&format!("{{{to}, fault: {{abort: {{}}}}}}")), "IST0133", "spec.http[0].fault.abort"),
        (rules("{redirect: {uri: /, redirectCode: 304}}"), "IST0133", "spec.http[0].redirect.redirectCode"),
        (
            rules(&format!("{{directResponse: {{status: 200, body: {{string: {}}}}}}}", "x".repeat(110_000))),
            "IST0133",
            "spec.http[0].directResponse.body",
        ),
        (format!("spec: {{hosts: [a.com], gateways: [gw.ns.svc], http: [{{{to}}}]}}"), "IST0133", "spec.gateways[0]"),
        (
            format!("spec: {{hosts: [10.0.0.1], gateways: [gw], tls: [{{match: [{{sniHosts: [10.0.0.1]}}], {to}}}]}}"),
            "IST0133",
            "spec.tls[0].match[0].sniHosts[0]",
        ),
    ];
    warns("VirtualService", &rows.each_ref().map(|(text, code, path)| (text.as_str(), *code, *path)));
    let differs = rules(&format!("{{{to}, match: [{{uri: {{prefix: /a}}, port: 1}}]}}, {{{to}, match: [{{uri: {{prefix: /ab}}}}]}}"));
    assert_eq!(found("VirtualService", &differs), [], "a prefix under other conditions takes nothing away");
}

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
        ("spec: {host: a, workloadSelector: {}}".into(), "IST0133", "spec.workloadSelector".into()),
    ];
    warns("DestinationRule", &accepted.each_ref().map(|(text, code, path): &(String, &str, String)| (text.as_str(), *code, path.as_str())));
}

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
            ("spec: {template: {}, probe: {exec: {command: [a]}}}", "spec: {template: {}, probe: {grpc: {port: 1}}}", "spec.probe.grpc"),
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

#[test]
fn an_envoy_filter_is_as_contract_1_7_says() {
    let patches = |patch: &str| format!("spec: {{configPatches: [{{{patch}}}]}}");
    let add = "patch: {operation: ADD, value: {}}";
    let chain = |to: &str, filter: &str| {
        patches(&format!("applyTo: {to}, match: {{listener: {{filterChain: {{filter: {{{filter}}}}}}}}}, patch: {{operation: MERGE, value: {{}}}}"))
    };
    let at = "spec.configPatches[0]";
    let path = |rest: &str| format!("{at}{rest}");
    let manager = "name: envoy.filters.network.http_connection_manager";
    let rows = [
        (patches(&format!("applyTo: CLUSTER, {add}")), patches(add), path(".applyTo")),
        (patches(&format!("applyTo: CLUSTER, {add}")), patches("applyTo: CLUSTER"), path(".patch")),
        (patches("applyTo: CLUSTER, patch: {operation: REMOVE}"), patches("applyTo: CLUSTER, patch: {operation: ADD}"), path(".patch.value")),
        (patches("applyTo: CLUSTER, patch: {operation: REMOVE}"), patches("applyTo: CLUSTER, patch: {}"), path(".patch.operation")),
        (
            patches(&format!("applyTo: CLUSTER, match: {{cluster: {{name: a}}}}, {add}")),
            patches(&format!("applyTo: CLUSTER, match: {{listener: {{name: a}}}}, {add}")),
            path(".match.listener"),
        ),
        (
            patches(&format!("applyTo: CLUSTER, match: {{proxy: {{proxyVersion: '^1.*'}}}}, {add}")),
            patches(&format!("applyTo: CLUSTER, match: {{proxy: {{proxyVersion: '('}}}}, {add}")),
            path(".match.proxy.proxyVersion"),
        ),
        (chain("HTTP_FILTER", manager), chain("HTTP_FILTER", "name: ''"), path(".match.listener.filterChain.filter.name")),
        (
            chain("HTTP_FILTER", &format!("{manager}, subFilter: {{name: a}}")),
            chain("NETWORK_FILTER", &format!("{manager}, subFilter: {{name: a}}")),
            path(".match.listener.filterChain.filter.subFilter"),
        ),
        (
            chain("HTTP_FILTER", &format!("{manager}, subFilter: {{name: a}}")),
            chain("HTTP_FILTER", "name: other, subFilter: {name: a}"),
            path(".match.listener.filterChain.filter.name"),
        ),
        (
            "spec: {workloadSelector: {labels: {a: b}}}".into(),
            "spec: {workloadSelector: {labels: {a: b}}, targetRefs: [{kind: Gateway, name: g}]}".into(),
            "spec.targetRefs".into(),
        ),
        (
            patches("applyTo: HTTP_FILTER, patch: {operation: REPLACE, value: {}}"),
            patches("applyTo: CLUSTER, patch: {operation: REPLACE, value: {}}"),
            at.into(),
        ),
        (patches(&format!("applyTo: CLUSTER, {add}")), patches(&format!("applyTo: HTTP_ROUTE, {add}")), at.into()),
        (patches("applyTo: CLUSTER, patch: {operation: REMOVE}"), patches("applyTo: HTTP_ROUTE, patch: {operation: REMOVE}"), at.into()),
    ];
    check("EnvoyFilter", &rows.each_ref().map(|(right, wrong, path): &(String, String, String)| (right.as_str(), wrong.as_str(), path.as_str())));
    let versioned = "applyTo: HTTP_FILTER, match: {proxy: {proxyVersion: a}}, patch: {operation: INSERT_BEFORE, value: {name: f}}";
    let accepted = [
        ("spec: {}".to_owned(), "IST0133", "spec"),
        (patches("applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {}}"), "IST0151", at),
        (format!("spec: {{configPatches: [{{{versioned}}}, {{{versioned}}}]}}"), "IST0155", "spec.configPatches[1]"),
    ];
    warns("EnvoyFilter", &accepted.each_ref().map(|(text, code, path)| (text.as_str(), *code, *path)));
    let ordered = found("EnvoyFilter", "spec: {priority: 1, configPatches: [{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {}}}]}");
    assert!(!ordered.iter().any(|p| p.code == "IST0151"), "a priority makes the order certain");
    let misused = found("EnvoyFilter", &patches(&format!("applyTo: HTTP_ROUTE, {add}")));
    assert!(!refuses(&misused) && refuses(&found("EnvoyFilter", &patches(add))), "an analyzer's error refuses its patch alone");
}
