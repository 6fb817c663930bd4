//! Admission of a Gateway (contract 1.3).

use super::grammar::{self, Protocol};
use super::{Checker, Verdict};
use crate::istio::gateway::{Gateway, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol};
use crate::object::{Kind, Object};
use crate::problem::Problem;

/// The cipher suites that a server may name; others are dropped with a warning.
const CIPHERS: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// What is wrong with a Gateway by itself.
pub fn gateway(object: &Object<Gateway>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::Gateway, object);
    let spec = &object.spec;
    c.entries("selector", &spec.selector, |c, key, value| {
        if value.is_empty() {
            c.error("", format!("expected a value for {key:?}, found none"));
        } else {
            c.check("", grammar::label(key, value));
        }
    });
    if spec.servers.is_empty() {
        c.error("servers", "a gateway needs at least one server");
    }
    c.each("servers", &spec.servers, server);
    for (i, server) in spec.servers.iter().enumerate() {
        let (earlier, name) = (&spec.servers[..i], &server.port.name);
        if !name.is_empty() && earlier.iter().any(|s| s.port.name == *name) {
            c.nth("servers", i, |c| c.at("port", |c| c.error("name", format!("a second port named {name:?}"))));
        }
        if !server.name.is_empty() && earlier.iter().any(|s| s.name == server.name) {
            c.nth("servers", i, |c| c.warning("name", format!("a second server named {:?}", server.name)));
        }
    }
    c.problems
}

fn server(c: &mut Checker<'_>, server: &Server) {
    if server.hosts.is_empty() {
        c.error("hosts", "a server needs at least one host");
    }
    c.each("hosts", &server.hosts, |c, host| c.check("", server_host(host)));
    let protocol = Protocol::read(&server.port.protocol);
    let unix = server.bind.strip_prefix("unix://");
    c.at("port", |c| {
        let port = &server.port;
        if protocol.is_none() {
            let known = "HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP, TLS";
            c.error("protocol", format!("expected one of {known}, found {:?}", port.protocol));
        }
        match unix {
            None => c.check("number", grammar::port(port.number)),
            Some(_) if port.number != 0 => c.error("number", "expected 0 beside a unix socket"),
            Some(_) => {}
        }
        if port.name.is_empty() {
            c.error("name", "a port needs a name");
        }
        if port.target_port > 0 {
            c.error("targetPort", "has no effect at a gateway");
        }
    });
    match unix {
        Some(path) => c.check("bind", grammar::unix_path(path)),
        None if !server.bind.is_empty() => c.check("bind", grammar::ip(&server.bind)),
        None => {}
    }
    c.some("tls", server.tls.as_ref(), tls);
    let Some(protocol) = protocol else { return };
    match &server.tls {
        None if protocol.is_tls() => c.error("tls", "an HTTPS or TLS server needs tls settings"),
        Some(tls) if protocol.is_http() => {
            let certificates = !tls.ca_certificates.is_empty() || !tls.private_key.is_empty() || !tls.server_certificate.is_empty();
            if certificates || !matches!(tls.mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough) {
                c.error("tls", "a plaintext HTTP server takes no tls settings but httpsRedirect");
            }
        }
        Some(tls) if !protocol.is_tls() => {
            c.error("tls", format!("a server of protocol {} takes no tls settings", server.port.protocol));
            if tls.https_redirect {
                c.warning("tls", "httpsRedirect has an effect on HTTP servers only");
            }
        }
        Some(tls) if tls.https_redirect => c.at("tls", |c| c.warning("httpsRedirect", "has an effect on HTTP servers only")),
        None | Some(_) => {}
    }
}

/// `[ns/]dnsName`: no short names, no partial wildcards.
fn server_host(host: &str) -> Verdict {
    let name = match host.split_once('/') {
        None => host,
        Some((namespace, name)) => {
            if !matches!(namespace, "*" | ".") {
                grammar::dns_label(namespace).map_err(|_| format!("expected `*`, `.` or a namespace before the slash, found {namespace:?}"))?;
            }
            name
        }
    };
    if name != "*" && !name.contains('.') && !grammar::is_ip(name) {
        return Err(format!("{name:?} is a short name: a gateway's host needs a dot"));
    }
    if grammar::is_partial_wildcard(name) {
        return Err(format!("{name:?}: a wildcard stands for whole labels, as in *.example.com"));
    }
    if grammar::is_ip(name) { Ok(()) } else { grammar::wildcard_domain(name) }
}

fn tls(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    let (mode, named) = (tls.mode, !tls.credential_name.is_empty());
    if matches!(tls.min_protocol_version, TlsProtocol::Tls10 | TlsProtocol::Tls11) && tls.cipher_suites.is_empty() {
        c.warning("minProtocolVersion", "no default cipher suite works below TLSV1_2: name cipherSuites");
    }
    c.each("cipherSuites", &tls.cipher_suites, |c, suite| {
        if !CIPHERS.contains(&suite.as_str()) {
            c.warning("", format!("{suite:?} is no cipher suite that can be chosen; it is dropped"));
        }
    });
    for (i, suite) in tls.cipher_suites.iter().enumerate() {
        if tls.cipher_suites[..i].contains(suite) {
            c.nth("cipherSuites", i, |c| c.warning("", format!("{suite:?} stands here twice")));
        }
    }
    c.at_most("credentialNames", tls.credential_names.len(), 2);
    c.at_most("tlsCertificates", tls.tls_certificates.len(), 2);
    let sources = [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", named),
        ("credentialNames", !tls.credential_names.is_empty()),
    ];
    match mode {
        ServerTlsMode::IstioMutual => {
            for (field, _) in sources.iter().filter(|(_, set)| *set) {
                c.error(field, "ISTIO_MUTUAL takes its certificates from the mesh");
            }
            return;
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            if !tls.ca_crl.is_empty() || sources.iter().any(|(_, set)| *set) {
                c.warning("", "certificates are ignored where TLS is passed through");
            }
        }
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {}
    }
    let files = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    let given = [files, named, !tls.credential_names.is_empty(), !tls.tls_certificates.is_empty()].iter().filter(|set| **set).count();
    if given > 1 {
        c.error("", "only one of serverCertificate with privateKey, credentialName, credentialNames and tlsCertificates may be given");
    }
    let mutual = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if mutual || mode == ServerTlsMode::Simple {
        if named || !tls.credential_names.is_empty() {
            return;
        }
        if mutual && tls.ca_certificates.is_empty() && tls.ca_cert_credential_name.is_empty() {
            c.error("caCertificates", "clients' certificates need a CA to verify them");
        }
        if tls.tls_certificates.is_empty() {
            certificate(c, &tls.server_certificate, &tls.private_key);
        }
        c.each("tlsCertificates", &tls.tls_certificates, |c, pair| certificate(c, &pair.server_certificate, &pair.private_key));
    }
    if !tls.ca_crl.is_empty() && named {
        c.error("caCrl", "stands in the secret where credentialName is given");
    } else if !tls.ca_crl.is_empty() && mode == ServerTlsMode::Simple {
        c.error("caCrl", "has no use in mode SIMPLE");
    }
}

fn certificate(c: &mut Checker<'_>, certificate: &str, key: &str) {
    if certificate.is_empty() {
        c.error("serverCertificate", "a certificate is needed: a file here, or credentialName");
    }
    if key.is_empty() {
        c.error("privateKey", "a private key is needed: a file here, or credentialName");
    }
}
