use std::net::IpAddr;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url, redirect};

use crate::Error;
use crate::outcome::{Answer, read_failure};

/// The HTTP client of everything: follows no redirect (a token must not travel to where it was not sent),
/// takes no proxy to this machine, and says who we are.
pub(crate) fn client(host: &Url) -> reqwest::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("posthog-health/", env!("CARGO_PKG_VERSION")));
    if is_loopback(host) { client.no_proxy() } else { client }.build()
}

/// An endpoint under the host, which may be a reverse proxy with a path of its own.
pub(crate) fn endpoint(host: &Url, path: &str, query: Option<&str>) -> Url {
    let mut url = host.clone();
    url.set_path(&format!("{}{path}", host.path().trim_end_matches('/')));
    url.set_query(query);
    url
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// To a batch or a probe PostHog answers with a few bytes; what is longer is not read.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;

/// Posts JSON, compressed already if `gzip`, and reads the answer, up to a size.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: Url,
    body: Bytes,
    gzip: bool,
    longest: usize,
) -> Result<Answer, Error> {
    let sent = body.len();
    let mut request = Request::new(Method::POST, url);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if gzip {
        request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    *request.body_mut() = Some(body.into());
    send(client, request, sent, longest).await
}

/// Sends a request with so many bytes in its body, and reads the answer, up to a size.
pub(crate) async fn send(
    client: &reqwest::Client,
    request: Request,
    sent: usize,
    longest: usize,
) -> Result<Answer, Error> {
    let mut response = client.execute(request).await.map_err(|error| read_failure(error, sent))?;
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
