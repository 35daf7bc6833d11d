//! Certificates good and bad, before a PostHog on this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthog_health::testing::FakePostHog;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::{check, command, report};

const DAY: i64 = 24 * 3600;

/// Somebody who issues certificates, for this test to trust.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Valid from and to so many days from now, less an hour: the test is not over at the same second.
    fn issue(&self, name: &str, from: i64, to: i64) -> ServerConfig {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let at = |days: i64| {
            let seconds = u64::try_from(now + days * DAY - 3600).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(from), at(to));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap()
    }

    fn write(&self, directory: &Path) -> std::path::PathBuf {
        let path = directory.join("ca.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }
}

/// TLS in front of the server. Gives its URL.
async fn in_front_of(server: &FakePostHog, config: ServerConfig) -> String {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = server.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // Who refuses the certificate hangs up.
                let Ok(mut front) = acceptor.accept(stream).await else { return };
                let mut back = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut front, &mut back).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn each_certificate_is_told_for_what_it_is() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger"));
    let place = tempfile::tempdir().unwrap();
    let trusted = authority.write(place.path());
    let server = FakePostHog::start();
    type Check = (&'static str, &'static str);
    let rows: [(&str, ServerConfig, Check, Check, i32); 7] = [
        (
            "good",
            authority.issue("localhost", -1, 90),
            ("pass", "TLS 1.3, chain and name are valid"),
            ("pass", "valid for 89 more days"),
            0,
        ),
        (
            "good for a fortnight",
            authority.issue("localhost", -1, 15),
            ("pass", "TLS 1.3"),
            ("pass", "valid for 14 more days"),
            0,
        ),
        (
            "good for less",
            authority.issue("localhost", -1, 14),
            ("pass", "TLS 1.3"),
            ("warn", "valid for 13 more days"),
            1,
        ),
        (
            "expired",
            authority.issue("localhost", -10, -2),
            ("fail", "the certificate has expired"),
            ("fail", "expired 2 days ago"),
            2,
        ),
        (
            "not valid yet",
            authority.issue("localhost", 2, 90),
            ("fail", "not valid yet"),
            ("pass", "valid for"),
            2,
        ),
        (
            "another name",
            authority.issue("posthog.example", -1, 90),
            ("fail", "for another name"),
            ("pass", "valid for"),
            2,
        ),
        (
            "a stranger's",
            stranger.issue("localhost", -1, 90),
            ("fail", "nobody that this machine trusts"),
            ("pass", "valid for"),
            2,
        ),
    ];
    for (name, config, tls, certificate, code) in rows {
        let url = in_front_of(&server, config).await;
        let mut command = command();
        command.env("POSTHOG_API_KEY", FakePostHog::TOKEN).env("POSTHOG_HOST", &url);
        let (exit, report) = report(command.arg("--strict").env("SSL_CERT_FILE", &trusted)).await;
        assert_eq!(exit, code, "{name}: {report:#}");
        for (id, (status, seen)) in [("network.tls", tls), ("network.certificate", certificate)] {
            let check = check(&report, id);
            assert_eq!(check["status"], status, "{name}: {check:#}");
            assert!(check["seen"].as_str().unwrap().contains(seen), "{name}: {check:#}");
            assert_eq!(check["remedy"].is_null(), status == "pass", "{name}: {check:#}");
        }
        // What the client itself makes of it is the same.
        let is_refused = tls.0 == "fail";
        assert_eq!(
            check(&report, "network.http")["status"],
            if is_refused { "fail" } else { "pass" },
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_or_says_nothing() {
    let server = FakePostHog::start();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for (url, seen) in [
        (server.url().replace("http://", "https://"), "it does not speak TLS"),
        (format!("https://127.0.0.1:{silent_port}"), "no answer within 3 s"),
    ] {
        let mut command = command();
        command.env("POSTHOG_API_KEY", FakePostHog::TOKEN).env("POSTHOG_HOST", url);
        let (code, report) = report(&mut command).await;
        let check = check(&report, "network.tls");
        assert_eq!((code, &check["status"]), (2, &"fail".into()), "{check:#}");
        assert!(check["seen"].as_str().unwrap().contains(seen), "{check:#}");
    }
}

#[tokio::test]
async fn a_webhooks_certificate_is_looked_at_and_nothing_is_sent_to_it() {
    let authority = Authority::new("ours");
    let place = tempfile::tempdir().unwrap();
    let trusted = authority.write(place.path());
    let (posthog, hooks) = (FakePostHog::start(), FakePostHog::start());
    for (days, status) in [(90, "pass"), (5, "warn"), (-2, "fail")] {
        let url = in_front_of(&hooks, authority.issue("localhost", -10, days)).await;
        let mut command = crate::asking(&posthog);
        command.env("SSL_CERT_FILE", &trusted).arg("--webhook-url").arg(url + "/hook");
        let (_, report) = report(&mut command).await;
        assert_eq!(check(&report, "webhook.certificate")["status"], status, "{report:#}");
    }
    assert!(hooks.requests().is_empty());
}
