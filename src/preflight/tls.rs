//! A TLS handshake by the client's rules: the same provider, the same verifier.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::check::Finding;
use crate::rt::detached_thread;

/// What a handshake showed.
pub struct Handshake {
    outcome: Result<Option<ProtocolVersion>, Refusal>,
    /// When the server's certificate expires, trusted or not, in seconds since 1970.
    expires: Option<i64>,
    now: i64,
}

enum Refusal {
    Certificate(CertificateError),
    Other(String),
}

pub async fn handshake(host: &str, stream: TcpStream, limit: Duration) -> Handshake {
    // On a thread of its own, because it reads the system's certificates.
    let verifier = match timeout(limit, detached_thread::run(RecordingVerifier::new)).await {
        Ok(Some(Ok(verifier))) => Arc::new(verifier),
        Ok(Some(Err(error))) => return Handshake::failed(error.to_string()),
        Ok(None) | Err(_) => return Handshake::failed("the system's certificates cannot be read".to_owned()),
    };
    let late = |_| Err(Refusal::Other(format!("no answer within {} s", limit.as_secs())));
    let outcome = timeout(limit, attempt(host, stream, Arc::clone(&verifier))).await.unwrap_or_else(late);
    let expires = verifier.leaf().and_then(|leaf| {
        let (_, certificate) = x509_parser::parse_x509_certificate(&leaf).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    Handshake::new(outcome, expires)
}

async fn attempt(
    host: &str,
    stream: TcpStream,
    verifier: Arc<RecordingVerifier>,
) -> Result<Option<ProtocolVersion>, Refusal> {
    let other = |error: &dyn std::fmt::Display| Refusal::Other(error.to_string());
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| other(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|error| other(&error))?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(stream.get_ref().1.protocol_version()),
        Err(error) => match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(certificate)) => Err(Refusal::Certificate(certificate.clone())),
            Some(Error::InvalidMessage(_)) => Err(Refusal::Other("it does not speak TLS".to_owned())),
            _ => Err(other(&error)),
        },
    }
}

/// Chooses the provider as the HTTP client does.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}

/// The platform's verifier. It also records the certificate that it was shown.
#[derive(Debug)]
struct RecordingVerifier {
    verifier: Verifier,
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

impl RecordingVerifier {
    fn new() -> Result<Self, Error> {
        Ok(Self { verifier: Verifier::new(provider())?, leaf: Mutex::default() })
    }

    fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.leaf.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl Handshake {
    fn new(outcome: Result<Option<ProtocolVersion>, Refusal>, expires: Option<i64>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { outcome, expires, now: i64::try_from(now).unwrap_or(i64::MAX) }
    }

    fn failed(problem: String) -> Self {
        Self::new(Err(Refusal::Other(problem)), None)
    }
}

/// Judges the chain and the version.
pub fn judge(handshake: &Handshake) -> Finding {
    match &handshake.outcome {
        Ok(Some(ProtocolVersion::TLSv1_3)) => Finding::pass("TLS 1.3, chain and name are valid"),
        Ok(Some(ProtocolVersion::TLSv1_2)) => Finding::pass("TLS 1.2, chain and name are valid"),
        Ok(version) => Finding::pass(format!("{version:?}, chain and name are valid")),
        Err(Refusal::Certificate(error)) => refused(error),
        Err(Refusal::Other(problem)) => Finding::fail(
            format!("no handshake: {problem}"),
            "check that the port is the one of https, and what is in between (proxy, load balancer, firewall)",
        ),
    }
}

fn refused(error: &CertificateError) -> Finding {
    use CertificateError as E;
    let (seen, remedy) = match error {
        E::Expired | E::ExpiredContext { .. } => {
            ("the certificate has expired", "renew it; if it is PostHog Cloud's, check this machine's clock")
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            ("the certificate is not valid yet", "check this machine's clock")
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => (
            "the certificate is for another name",
            "use the name that the certificate is for; on a captive network sign in",
        ),
        E::UnknownIssuer => (
            "nobody that this machine trusts has issued the certificate",
            "install ca-certificates, or your own CA there (SSL_CERT_FILE); behind a proxy that inspects TLS, its CA",
        ),
        E::Revoked => ("the certificate was revoked", "have it replaced, and do not send until it is"),
        other => {
            return Finding::fail(
                format!("the certificate is refused: {other}"),
                "have it replaced by one that this machine trusts",
            );
        }
    };
    Finding::fail(seen, remedy)
}

const DAY: i64 = 24 * 3600;
/// The time to renew a certificate by hand, including holidays.
const SOON: i64 = 14 * DAY;

pub fn judge_certificate(handshake: &Handshake) -> Finding {
    let Some(expires) = handshake.expires else {
        return Finding::skipped("no certificate was shown: see network.tls");
    };
    let left = expires - handshake.now;
    if left <= 0 {
        return Finding::fail(format!("expired {} days ago", -left / DAY), "renew it now");
    }
    Finding::pass(format!("valid for {} more days", left / DAY))
        .warn_if(left < SOON, "see that it is renewed: whoever runs that host has less than 14 days")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};

    #[test]
    fn warns_below_fourteen_days_and_fails_at_the_end() {
        let judged = |left: i64| {
            judge_certificate(&Handshake {
                outcome: Ok(None),
                expires: Some(1_000_000 + left),
                now: 1_000_000,
            })
            .status
        };
        assert_eq!([SOON, SOON - 1, 1, 0, -DAY].map(judged), [Pass, Warn, Warn, Fail, Fail]);
        let none = Handshake { outcome: Ok(None), expires: None, now: 0 };
        assert_eq!(judge_certificate(&none).status, Skipped);
    }
}
