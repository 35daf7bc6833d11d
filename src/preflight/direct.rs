//! The way to a server without HTTP: its name, its port, its certificate. Each step has its own time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::check::{CheckId, Finding, Findings};
use super::tls::{self, Handshake};

const STEP: Duration = Duration::from_secs(3);

/// How far one came. `None`: there was no use in trying.
pub(super) struct Reached {
    host: String,
    is_https: bool,
    pub(super) addresses: Result<Vec<SocketAddr>, String>,
    tcp: Option<Result<SocketAddr, String>>,
    pub(super) tls: Option<Handshake>,
}

pub(super) async fn reach(url: &Url) -> Reached {
    // In a URL the address has brackets round it if it is of IPv6.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let is_https = url.scheme() == "https";
    let addresses = step(lookup_host((host.as_str(), port))).await.map(Iterator::collect::<Vec<_>>);
    let mut reached = Reached { host, is_https, addresses, tcp: None, tls: None };
    let Ok(addresses) = &reached.addresses else { return reached };
    let stream = step(async {
        let stream = TcpStream::connect(&addresses[..]).await?;
        Ok((stream.peer_addr()?, stream))
    })
    .await;
    reached.tcp = Some(stream.as_ref().map(|(address, _)| *address).map_err(String::clone));
    if let (true, Ok((_, stream))) = (is_https, stream) {
        reached.tls = Some(tls::shake_hands(&reached.host, stream, STEP).await);
    }
    reached
}

/// Takes a step in its time.
async fn step<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(STEP, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", STEP.as_secs())),
    }
}

impl Reached {
    pub(super) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().flatten().map(SocketAddr::ip)
    }

    pub(super) fn judge(&self) -> Findings {
        vec![
            (CheckId::Dns, self.dns()),
            (CheckId::Tcp, self.tcp()),
            (CheckId::Tls, self.handshake(tls::judge)),
            (CheckId::Certificate, self.handshake(tls::judge_certificate)),
        ]
    }

    fn dns(&self) -> Finding {
        match &self.addresses {
            Ok(_) if self.host.parse::<IpAddr>().is_ok() => Finding::pass("an address, no name"),
            Ok(addresses) if !addresses.is_empty() => {
                Finding::pass(format!("{} has {} address(es)", self.host, addresses.len()))
            }
            Ok(_) => Finding::fail(format!("{} has no address", self.host), DNS_REMEDY),
            Err(error) => Finding::fail(format!("{}: {error}", self.host), DNS_REMEDY),
        }
    }

    fn tcp(&self) -> Finding {
        match &self.tcp {
            None => Finding::skipped("no address: see network.dns"),
            Some(Ok(address)) => Finding::pass(format!("connected to {address}")),
            Some(Err(error)) => Finding::fail(
                error.clone(),
                "let this machine out to it: firewall, network policy, security group; and check the port",
            ),
        }
    }

    fn handshake(&self, judge: fn(&Handshake) -> Finding) -> Finding {
        match &self.tls {
            _ if !self.is_https => Finding::skipped("plain http to this machine, or as you asked"),
            None => Finding::skipped("no connection: see network.tcp"),
            Some(handshake) => judge(handshake),
        }
    }
}

const DNS_REMEDY: &str = "check the name in POSTHOG_HOST and this machine's resolver; in Kubernetes the pod's dnsPolicy and network policy";
