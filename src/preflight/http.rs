//! Requests of the checks, by the HTTP client that everything else uses.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request, Url};
use tokio::time::Instant;

use crate::api::{Answer, Api, CaptureProtocol, Compressors, Http, LONGEST_ANSWER, Protocols, TokenChecks};
use crate::credentials::{Credentials, ProjectToken, SecretKey};
use crate::rt::detached_thread;
use crate::{Error, ErrorKind};

/// Sends a `GET`. The client follows no redirect and uses no proxy to this machine.
pub async fn get(url: &Url, key: Option<&SecretKey>) -> Result<Answer, Error> {
    let request = || {
        let mut request = Request::new(Method::GET, url.clone());
        if let Some(key) = key {
            request.headers_mut().insert(AUTHORIZATION, key.bearer()?);
        }
        Ok(request)
    };
    client_for(url).await?.send(|| ready(request()), LONGEST_ANSWER).await
}

/// Connects to PostHog's API apart from any client: no queue, no retry.
pub async fn api(host: &Url, token: ProjectToken) -> Result<Api, Error> {
    Ok(Api {
        http: client_for(host).await?,
        host: host.clone(),
        tokens: Credentials::fixed(token),
        longest_retry_after: Duration::ZERO,
        compressors: Some(Compressors::default()),
        protocols: Arc::new(Protocols::new(CaptureProtocol::V0, host, Instant::now())),
        token_checks: TokenChecks::default(),
    })
}

/// About the time for a request of the checks.
const LONGEST: Duration = Duration::from_secs(4);

/// Builds the client on a thread of its own, because it reads the system's certificates: that takes a while, and for
/// ever if they are on a mount that hangs.
async fn client_for(url: &Url) -> Result<Http, Error> {
    let url = url.clone();
    match detached_thread::run(move || Http::new(&url, LONGEST)).await {
        Some(client) => client.map_err(|error| Error::new(ErrorKind::Tls).with_source(error)),
        None => Err(Error::new(ErrorKind::Tls)),
    }
}

/// Describes an error together with its innermost cause.
pub fn describe(error: &Error) -> String {
    match error.innermost_cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
