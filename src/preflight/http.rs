//! Requests of the checks, by the HTTP client that everything else uses.

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request, Url};

use crate::aside::aside;
use crate::credentials::SecretKey;
use crate::outcome::{Answer, innermost_cause};
use crate::transport::{LONGEST_ANSWER, client, send};
use crate::{Error, ErrorKind};

/// Sends a `GET`. The client follows no redirect and uses no proxy to this machine.
pub async fn get(url: &Url, key: Option<&SecretKey>) -> Result<Answer, Error> {
    let mut request = Request::new(Method::GET, url.clone());
    if let Some(key) = key {
        request.headers_mut().insert(AUTHORIZATION, key.bearer()?);
    }
    send(&client_for(url).await?, request, 0, LONGEST_ANSWER).await
}

/// Builds the client on a thread of its own, because it reads the system's certificates: that takes a while, and for
/// ever if they are on a mount that hangs.
pub async fn client_for(url: &Url) -> Result<reqwest::Client, Error> {
    let url = url.clone();
    match aside(move || client(&url)).await {
        Some(client) => client.map_err(|error| Error::new(ErrorKind::Tls).with_source(error)),
        None => Err(Error::new(ErrorKind::Tls)),
    }
}

/// Describes an error together with its innermost cause.
pub fn describe(error: &Error) -> String {
    match innermost_cause(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
