//! Whether a server can be reached, without HTTP: its name, its port, its certificate. Each step has its own time limit.
//!
//! Behind a proxy these steps are the proxy's, so the checks of PostHog's host skip them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::check::{CheckId, Finding, Findings};
use super::tls::{self, Handshake};
use crate::api::is_loopback;

const DIRECT: [CheckId; 4] = [CheckId::Dns, CheckId::Tcp, CheckId::Tls, CheckId::Certificate];

pub const IDS: &[CheckId] = &[CheckId::Proxy, DIRECT[0], DIRECT[1], DIRECT[2], DIRECT[3]];

pub async fn check(host: Url) -> Findings {
    let proxy = proxy_for(&host);
    let mut findings = match &proxy {
        // A direct connection would say nothing about the client, which does not use one.
        Some(_) => DIRECT
            .map(|id| (id, Finding::skipped("through a proxy, which does this: see network.http")))
            .into(),
        None => reach(&host).await.judge(),
    };
    findings.push((CheckId::Proxy, judge_proxy(&host, proxy.as_deref())));
    findings
}

/// Returns the proxy that the client uses for this URL, as `host:port`, without credentials.
fn proxy_for(url: &Url) -> Option<String> {
    if is_loopback(url) {
        return None;
    }
    let intercepted = Matcher::from_system().intercept(&url.as_str().parse().ok()?)?;
    let proxy = intercepted.uri();
    let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}{port}", proxy.host()?))
}

fn judge_proxy(url: &Url, proxy: Option<&str>) -> Finding {
    match proxy {
        Some(proxy) => {
            Finding::pass(format!("goes through {proxy} (HTTPS_PROXY, ALL_PROXY or the system's)"))
        }
        None if is_loopback(url) => Finding::pass("none: this machine is asked without one"),
        None => Finding::pass("none"),
    }
}

const STEP: Duration = Duration::from_secs(3);

/// How far the connection came. `None`: the step before failed.
pub struct Reached {
    host: String,
    is_https: bool,
    pub addresses: Result<Vec<SocketAddr>, String>,
    tcp: Option<Result<SocketAddr, String>>,
    pub tls: Option<Handshake>,
}

pub async fn reach(url: &Url) -> Reached {
    // A URL has an IPv6 address in brackets.
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
        reached.tls = Some(tls::handshake(&reached.host, stream, STEP).await);
    }
    reached
}

/// Runs one step within its time limit.
async fn step<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(STEP, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", STEP.as_secs())),
    }
}

impl Reached {
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().flatten().map(SocketAddr::ip)
    }

    pub fn judge(&self) -> Findings {
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
