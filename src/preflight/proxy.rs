use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::check::Finding;
use crate::api::is_loopback;

/// The proxy that the client takes to this URL, as `host:port`: never with its credentials.
pub(super) fn in_force(url: &Url) -> Option<String> {
    if is_loopback(url) {
        return None;
    }
    let intercepted = Matcher::from_system().intercept(&url.as_str().parse().ok()?)?;
    let proxy = intercepted.uri();
    let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}{port}", proxy.host()?))
}

pub(super) fn judge(url: &Url, proxy: Option<&str>) -> Finding {
    match proxy {
        Some(proxy) => {
            Finding::pass(format!("goes through {proxy} (HTTPS_PROXY, ALL_PROXY or the system's)"))
        }
        None if is_loopback(url) => Finding::pass("none: this machine is asked without one"),
        None => Finding::pass("none"),
    }
}
