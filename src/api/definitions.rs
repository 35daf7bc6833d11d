//! `GET {host}/flags/definitions/`: what flags are made of, so that they can be evaluated in this process.

use std::future::ready;

use reqwest::header::{AUTHORIZATION, ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, Request};

use super::{Api, endpoint};
use crate::Error;
use crate::credentials::SecretKey;

/// Definitions as PostHog sent them.
#[derive(Debug)]
pub struct Definitions {
    pub body: Vec<u8>,
    /// By which the next request asks for changes only.
    pub etag: Option<HeaderValue>,
}

/// The definitions of a thousand flags with payloads have about 1 MiB, and a project has hundreds.
const LONGEST: usize = 32 * 1024 * 1024;

impl Api {
    /// Fetches the definitions. Returns `None` if they are still those of `etag`.
    pub async fn definitions(
        &self,
        key: &SecretKey,
        etag: Option<HeaderValue>,
    ) -> Result<Option<Definitions>, Error> {
        let is_conditional = etag.is_some();
        let request = || {
            // `send_cohorts` adds what cohorts are made of, so that membership can be evaluated here.
            let url = endpoint(&self.host, "/flags/definitions/", Some("send_cohorts"));
            let mut request = Request::new(Method::GET, url);
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, key.bearer()?);
            headers.insert("x-posthog-project-api-key", self.token()?.header()?);
            headers.extend(etag.clone().map(|etag| (IF_NONE_MATCH, etag)));
            Ok(request)
        };
        let answer = self.http.send(|| ready(request()), LONGEST).await?;
        if is_conditional && answer.status == 304 {
            return Ok(None);
        }
        let etag = answer.headers.get(ETAG).cloned();
        let body = self.body_of(answer, key.expose())?;
        Ok(Some(Definitions { body, etag }))
    }
}
