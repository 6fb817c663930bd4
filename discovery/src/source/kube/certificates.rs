//! Certificates as problems tell them: whose they are, and from when to when they hold.
//!
//! A client certificate is read from the kubeconfig. That of an API server is only looked at when it was refused, on a
//! connection of its own that trusts anybody, sends nothing, and is closed at once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

/// How long before its end a certificate is worth a warning.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long a look at an API server's certificate may take.
const LOOK: Duration = Duration::from_secs(5);

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    subject: String,
    issuer: String,
    from: Timestamp,
    until: Timestamp,
}

impl Certificate {
    fn of_der(der: &[u8]) -> Option<Self> {
        X509Certificate::from_der(der).ok().and_then(|(_, found)| Self::of(&found))
    }

    fn of_pem(text: &[u8]) -> Option<Self> {
        let mut blocks = Pem::iter_from_buffer(text).filter_map(Result::ok).filter(|block| block.label == "CERTIFICATE");
        Self::of_der(&blocks.next()?.contents)
    }

    fn of(found: &X509Certificate<'_>) -> Option<Self> {
        let validity = found.validity();
        let [from, until] = [validity.not_before, validity.not_after].map(|time| Timestamp::from_second(time.timestamp()).ok());
        Some(Self { subject: found.subject().to_string(), issuer: found.issuer().to_string(), from: from?, until: until? })
    }

    /// The one by which a kubeconfig's user is known.
    pub(super) fn of_client(config: &Config) -> Option<Self> {
        let AuthInfo { client_certificate_data, client_certificate, .. } = &config.auth_info;
        let text = match (client_certificate_data, client_certificate) {
            (Some(data), _) => serde_json::from_value::<ByteString>(data.as_str().into()).ok()?.0,
            (None, Some(path)) => std::fs::read(path).ok()?,
            (None, None) => return None,
        };
        Self::of_pem(&text)
    }

    /// That it does not hold now, and its date.
    fn amiss(&self, now: Timestamp) -> Option<String> {
        let Self { subject, from, until, .. } = self;
        if now < *from {
            Some(format!("({subject}) is not valid before {from}"))
        } else {
            (now > *until).then(|| format!("({subject}) expired at {until}"))
        }
    }

    /// The same, or that it will end soon.
    pub(super) fn warning(&self, now: Timestamp) -> Option<String> {
        let ends = || (self.until.duration_since(now) < SOON).then(|| format!("({}) expires at {}", self.subject, self.until));
        self.amiss(now).or_else(ends)
    }

    /// Why a client with it was not let in, where that is its date.
    pub(super) fn refusal(&self, now: Timestamp) -> Option<String> {
        self.amiss(now).map(|amiss| format!("the client certificate {amiss}"))
    }
}

/// True where an error says that the other end's certificate was refused.
pub(super) fn is_distrust(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // What an I/O error wraps is not its source, but it itself.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        next = wrapped.map_or_else(|| error.source(), |inner| Some(inner));
    }
    false
}

/// Looks at what an API server presents: which certificate does not hold, else whose it is and who is trusted.
pub(super) async fn look(config: Config) -> Option<String> {
    let roots: Vec<Certificate> = config.root_cert.iter().flatten().filter_map(|der| Certificate::of_der(der)).collect();
    let presented = timeout(LOOK, presented(config)).await.ok()??;
    Some(told(&presented, &roots, Timestamp::now()))
}

fn told(presented: &[Certificate], roots: &[Certificate], now: Timestamp) -> String {
    let Some(own) = presented.first() else { return "the API server presents no certificate".to_owned() };
    if let Some(amiss) = own.amiss(now) {
        return format!("the API server's certificate {amiss}");
    }
    if let Some(amiss) = presented.iter().skip(1).chain(roots).find_map(|issuer| issuer.amiss(now)) {
        return format!("the certificate of an issuer {amiss}");
    }
    let trusted: Vec<String> = roots.iter().map(|root| format!("({})", root.subject)).collect();
    let trusted = if trusted.is_empty() { "the authorities of the system".to_owned() } else { trusted.join(", ") };
    let Certificate { subject, issuer, until, .. } = own;
    format!("the API server's certificate ({subject}) was issued by ({issuer}) and is valid until {until}; trusted: {trusted}")
}

async fn presented(mut config: Config) -> Option<Vec<Certificate>> {
    config.accept_invalid_certs = true;
    // Who we are is for nobody that is not trusted.
    config.auth_info = AuthInfo::default();
    let tls = config.rustls_client_config().ok()?;
    let host = config.cluster_url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let name = ServerName::try_from(config.tls_server_name.clone().unwrap_or_else(|| host.clone())).ok()?;
    let stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain.iter().filter_map(|der| Certificate::of_der(der)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_with_its_subject_and_its_date() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let of = |subject: &str, issuer: &str| Certificate {
            subject: subject.into(),
            issuer: issuer.into(),
            from: at("2026-01-01T00:00:00Z"),
            until: at("2026-06-01T00:00:00Z"),
        };
        let client = of("CN=admin", "CN=ca");
        for (now, want) in [
            ("2025-12-31T00:00:00Z", Some("(CN=admin) is not valid before 2026-01-01T00:00:00Z")),
            ("2026-03-01T00:00:00Z", None),
            ("2026-05-01T00:00:00Z", None),
            ("2026-05-03T00:00:00Z", Some("(CN=admin) expires at 2026-06-01T00:00:00Z")),
            ("2026-06-02T00:00:00Z", Some("(CN=admin) expired at 2026-06-01T00:00:00Z")),
        ] {
            assert_eq!(client.warning(at(now)).as_deref(), want, "{now}");
        }
        assert_eq!(client.refusal(at("2026-05-03T00:00:00Z")), None, "what is valid still is not why");
        let (server, root) = (of("CN=api", "CN=other"), of("CN=ca", "CN=ca"));
        let ended = Certificate { until: at("2026-02-01T00:00:00Z"), ..root.clone() };
        let now = at("2026-03-01T00:00:00Z");
        for (presented, roots, want) in [
            (&[][..], &[][..], "the API server presents no certificate"),
            (std::slice::from_ref(&ended), &[], "the API server's certificate (CN=ca) expired at 2026-02-01T00:00:00Z"),
            (std::slice::from_ref(&server), std::slice::from_ref(&ended), "the certificate of an issuer (CN=ca) expired at 2026-02-01T00:00:00Z"),
            (
                std::slice::from_ref(&server),
                std::slice::from_ref(&root),
                "the API server's certificate (CN=api) was issued by (CN=other) and is valid until 2026-06-01T00:00:00Z; trusted: (CN=ca)",
            ),
            (
                std::slice::from_ref(&server),
                &[],
                "the API server's certificate (CN=api) was issued by (CN=other) and is valid until 2026-06-01T00:00:00Z; trusted: the authorities of the system",
            ),
        ] {
            assert_eq!(told(presented, roots, now), want);
        }
    }

    #[test]
    fn only_a_certificate_that_is_refused_is_distrust() {
        let refused = || rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert!(is_distrust(&refused()));
        assert!(is_distrust(&std::io::Error::other(std::io::Error::other(refused()))));
        assert!(!is_distrust(&std::io::Error::other(rustls::Error::DecryptError)) && !is_distrust(&std::io::Error::other("cut")));
    }
}
