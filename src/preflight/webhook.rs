//! The webhook that PostHog calls: its address, its certificate, its secret. No request is sent to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::check::{CheckId, Finding, Findings};
use super::reachability::{self, Reached};
use super::tls;
use crate::webhook::WebhookSecret;

pub const IDS: &[CheckId] = &[CheckId::WebhookUrl, CheckId::WebhookCertificate];

pub async fn check(url: Option<String>) -> Findings {
    let (address, certificate) = match url.as_deref().map(Url::parse) {
        None => (not_named(), not_named()),
        Some(Err(_)) => (
            Finding::fail("not a URL", "name it whole: https://hooks.your-domain/posthog"),
            Finding::skipped("see webhook.url"),
        ),
        Some(Ok(url)) => {
            let reached = reachability::reach(&url).await;
            (address(&url, &reached), certificate(&url, &reached))
        }
    };
    vec![(CheckId::WebhookUrl, address), (CheckId::WebhookCertificate, certificate)]
}

fn not_named() -> Finding {
    Finding::skipped("no webhook was named (--webhook-url)")
}

fn address(url: &Url, reached: &Reached) -> Finding {
    if url.scheme() != "https" {
        return Finding::fail(
            format!("{}, not https", url.scheme()),
            "give PostHog an https:// address: its events are in the request, readable on the way",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Finding::fail(
            "has a user name or password in it",
            "take them out, and check the signature instead",
        );
    }
    if let Err(error) = &reached.addresses {
        return Finding::fail(format!("its name has no address: {error}"), "publish the name in public DNS");
    }
    match first_not_public(reached.ips()) {
        Some((ip, kind)) => Finding::fail(
            format!("{ip} is {kind}: PostHog Cloud cannot reach it"),
            "give the webhook a public address; what resolves here must resolve so for PostHog",
        ),
        None => Finding::pass("https, at a public address"),
    }
}

fn certificate(url: &Url, reached: &Reached) -> Finding {
    match &reached.tls {
        _ if url.scheme() != "https" => Finding::skipped("not https: see webhook.url"),
        None => {
            Finding::skipped("it cannot be reached from here, which says nothing about PostHog's way to it")
        }
        Some(handshake) => {
            let chain = tls::judge(handshake);
            if chain.remedy.is_some() { chain } else { tls::judge_certificate(handshake) }
        }
    }
}

/// One is enough, because PostHog may choose any of them.
fn first_not_public(ips: impl Iterator<Item = IpAddr>) -> Option<(IpAddr, &'static str)> {
    ips.map(|ip| (ip, not_public(ip))).find_map(|(ip, kind)| Some((ip, kind?)))
}

/// Names the kind of an address that is not reachable from the internet. `None` for a public one.
fn not_public(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => not_public_v4(ip),
        IpAddr::V6(ip) => match ipv4_within(ip) {
            Some(ip) => not_public_v4(ip),
            None => not_public_v6(ip),
        },
    }
}

fn not_public_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        _ if ip.is_loopback() => Some("this machine"),
        _ if ip.is_private() => Some("private"),
        _ if ip.is_link_local() => Some("link-local"),
        (0, ..) => Some("no address"),
        (100, 64..=127, _) => Some("shared by a carrier (CGNAT)"),
        (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) | (240.., ..) => Some("reserved"),
        _ if ip.is_documentation() => Some("for documentation"),
        _ if ip.is_multicast() => Some("multicast"),
        _ => None,
    }
}

/// Returns the IPv4 address that an IPv6 address leads to: mapped, through NAT64 or 6to4.
fn ipv4_within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d] = match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            (u32::from(high) << 16 | u32::from(low)).to_be_bytes()
        }
        _ => return ip.to_ipv4_mapped(),
    };
    Some(Ipv4Addr::new(a, b, c, d))
}

fn not_public_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let [first, second, ..] = ip.segments();
    match first {
        _ if ip.is_loopback() => Some("this machine"),
        _ if ip.is_unspecified() => Some("no address"),
        _ if ip.is_unique_local() => Some("unique-local"),
        _ if ip.is_unicast_link_local() => Some("link-local"),
        _ if ip.is_multicast() => Some("multicast"),
        0x2001 if second == 0xdb8 => Some("for documentation"),
        0x3fff if second < 0x1000 => Some("for documentation"),
        0xfec0..=0xfeff => Some("site-local"),
        0x2000..=0x3fff => None,
        _ => Some("reserved"),
    }
}

/// Judges a secret by its shape: whether the service would accept it.
pub fn secret(has_url: bool, secret: Option<&str>) -> Finding {
    match secret.map(str::trim) {
        None if !has_url => not_named(),
        None | Some("") => Finding::fail(
            "no signing secret is set: PostHog signs nothing",
            "set signing_secret on the webhook destination, and give it to the service (POSTHOG_WEBHOOK_SECRET): docs/webhooks.md",
        ),
        Some(secret) => match WebhookSecret::parse(secret) {
            Err(error) => Finding::refused(&error),
            Ok(_) if !secret.starts_with("whsec_") => Finding::warn(
                "it does not begin with whsec_",
                "use whsec_ and base64, as the Standard Webhooks scheme has it",
            ),
            Ok(_) => Finding::pass(format!("set, whsec_…, {} characters", secret.len())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};

    #[test]
    fn addresses_that_the_internet_does_not_know() {
        for ip in [
            "127.0.0.1",
            "127.255.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fdff::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            // NAT64, 6to4, and the old form of the two together: the address of IPv4 is in them.
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "::10.0.0.1",
            "100::1",
            "3fff::1",
            "192.88.99.1",
        ] {
            assert!(not_public(ip.parse().unwrap()).is_some(), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "11.0.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "2a00:1450::1",
        ] {
            assert_eq!(not_public(ip.parse().unwrap()), None, "{ip}");
        }
    }

    #[test]
    fn a_name_with_one_address_that_is_not_public_is_refused() {
        let of = |ips: &[&str]| first_not_public(ips.iter().map(|ip| ip.parse().unwrap()));
        let private = Some(("10.0.0.1".parse().unwrap(), "private"));
        assert_eq!(of(&["1.1.1.1", "10.0.0.1"]), private);
        assert_eq!(of(&["10.0.0.1", "1.1.1.1"]), private);
        assert_eq!(of(&["1.1.1.1", "2606:4700::1111"]), None);
    }

    #[test]
    fn a_secret_is_one_that_the_service_takes() {
        assert_eq!(secret(false, None).status, Skipped);
        assert_eq!(secret(true, None).status, Fail);
        assert_eq!(secret(true, Some(" ")).status, Fail);
        // 24 to 64 bytes in base64, with and without padding.
        for (encoded, status) in [
            ("A".repeat(31), Fail),
            ("A".repeat(32), Pass),
            (format!("{}=", "A".repeat(43)), Pass),
            ("A".repeat(43), Pass),
            ("A".repeat(86), Pass),
            (format!("{}==", "A".repeat(86)), Pass),
            ("A".repeat(87), Fail),
            (format!("{}-_", "A".repeat(42)), Fail),
            ("$WEBHOOK_SECRET".repeat(3), Fail),
        ] {
            let judged = secret(true, Some(&format!("whsec_{encoded}")));
            assert_eq!(judged.status, status, "{encoded}: {judged:?}");
        }
        assert_eq!(secret(true, Some(&"A".repeat(43))).status, Warn, "no whsec_");
    }
}
