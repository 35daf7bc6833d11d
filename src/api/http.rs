use std::net::IpAddr;

use reqwest::{Request, Url, redirect};

use super::Answer;
use crate::{Error, ErrorKind};

/// Builds the HTTP client of every request. It follows no redirect, because a token must not travel to a host that it was
/// not sent to. It uses no proxy to this machine, and its user agent names this crate.
pub fn http_client(host: &Url) -> reqwest::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("posthog-health/", env!("CARGO_PKG_VERSION")));
    if is_loopback(host) { client.no_proxy() } else { client }.build()
}

/// The URL of an endpoint under the host, which may be a reverse proxy with a path of its own.
pub fn endpoint(host: &Url, path: &str, query: Option<&str>) -> Url {
    let mut url = host.clone();
    url.set_path(&format!("{}{path}", host.path().trim_end_matches('/')));
    url.set_query(query);
    url
}

pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// PostHog answers a batch or a probe with a few bytes. The rest of a longer answer is not read.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// Sends a request whose body has `sent` bytes, and reads up to `longest` bytes of the answer.
pub async fn send(
    client: &reqwest::Client,
    request: Request,
    sent: usize,
    longest: usize,
) -> Result<Answer, Error> {
    let mut response = client.execute(request).await.map_err(|error| failure(error.into(), sent))?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    let body = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(longest - body.len())]),
            Ok(None) => break Ok(body),
            Err(error) => break Err(error.without_url().into()),
        }
        if body.len() == longest {
            break Ok(body);
        }
    };
    Ok(Answer { status, headers, body })
}

/// From this size on, a server that hangs up while it receives the body most likely refused the size: it closes after its
/// 413 without reading on, and the client sees the broken pipe first. Old self-hosted servers accept 2 MiB. Well below that
/// a hang-up is only a hang-up.
const LARGE_BODY: usize = 512 * 1024;

/// What a failure to get any answer means after a body of `sent` bytes.
fn failure(error: Error, sent: usize) -> Error {
    if sent >= LARGE_BODY && error.is_hang_up() { error.with_kind(ErrorKind::TooLarge) } else { error }
}
