//! Rules of VirtualService (contract 1.4).

use super::*;

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
