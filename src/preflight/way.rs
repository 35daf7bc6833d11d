//! The way to PostHog: through a proxy, which does the rest, or direct.

use reqwest::Url;

use super::check::{CheckId, Finding, Findings};
use super::direct;
use super::proxy;

const DIRECT: [CheckId; 4] = [CheckId::Dns, CheckId::Tcp, CheckId::Tls, CheckId::Certificate];

pub(super) const IDS: &[CheckId] = &[CheckId::Proxy, DIRECT[0], DIRECT[1], DIRECT[2], DIRECT[3]];

pub(super) async fn check(host: &Url) -> Findings {
    let proxy = proxy::in_force(host);
    let mut findings = match &proxy {
        Some(_) => through_a_proxy(),
        None => direct::reach(host).await.judge(),
    };
    findings.push((CheckId::Proxy, proxy::judge(host, proxy.as_deref())));
    findings
}

/// Of a way that nobody goes: what is direct is not how the client goes.
fn through_a_proxy() -> Findings {
    DIRECT.map(|id| (id, Finding::skipped("through a proxy, which does this: see network.http"))).into()
}
