use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request, Url};

use crate::api::{Answer, LONGEST_ANSWER, client, send};
use crate::credentials::SecretKey;
use crate::rt::detached_thread;
use crate::{Error, ErrorKind};

/// `GET`, by the client of everything: no redirect is followed, no proxy is taken to this machine.
pub(super) async fn get(url: &Url, key: Option<&SecretKey>) -> Result<Answer, Error> {
    let mut request = Request::new(Method::GET, url.clone());
    if let Some(key) = key {
        request.headers_mut().insert(AUTHORIZATION, key.bearer()?);
    }
    send(&client_of(url).await?, request, 0, LONGEST_ANSWER).await
}

/// The client for this URL. It reads the system's certificates, which takes a while, and for ever if they are on a
/// mount that hangs.
pub(super) async fn client_of(url: &Url) -> Result<reqwest::Client, Error> {
    let url = url.clone();
    match detached_thread::run(move || client(&url)).await {
        Some(client) => client.map_err(|error| Error::new(ErrorKind::Tls).with_source(error)),
        None => Err(Error::new(ErrorKind::Tls)),
    }
}

/// An error with what caused it first.
pub(super) fn told(error: &Error) -> String {
    match error.innermost_cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
