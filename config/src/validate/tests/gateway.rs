//! Rules of Gateway (contract 1.3).

use super::*;

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
