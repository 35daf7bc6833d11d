use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, Request, Url};

use crate::credentials::{Credentials, ProjectToken, SecretKey};
use crate::flags::local::LocalFlags;
use crate::transport::{endpoint, send};
use crate::{Error, ErrorKind};

/// Are there other definitions than those of this tag?
#[derive(Debug)]
pub struct Ask {
    pub key: SecretKey,
    pub etag: Option<HeaderValue>,
}

/// What PostHog answered.
#[derive(Debug)]
pub enum Fetched {
    Unchanged,
    New(Arc<LocalFlags>, Option<HeaderValue>),
}

/// `GET {host}/flags/definitions/`: one call, one attempt.
#[derive(Clone, Debug)]
pub struct DefinitionsEndpoint {
    client: reqwest::Client,
    url: Url,
    tokens: Arc<Credentials<ProjectToken>>,
    longest_retry_after: Duration,
}

/// A thousand flags with payloads are about one; a project has hundreds.
const LONGEST: usize = 32 * 1024 * 1024;

impl DefinitionsEndpoint {
    pub fn new(
        client: &reqwest::Client,
        host: &Url,
        tokens: &Arc<Credentials<ProjectToken>>,
        longest_retry_after: Duration,
    ) -> Self {
        // `send_cohorts`: with what cohorts are made of, so that membership can be evaluated here.
        let url = endpoint(host, "/flags/definitions/", Some("send_cohorts"));
        Self { client: client.clone(), url, tokens: Arc::clone(tokens), longest_retry_after }
    }

    pub async fn send(self, Ask { key, etag }: Ask) -> Result<Fetched, Error> {
        let token = self.tokens.current().ok_or_else(|| Error::new(ErrorKind::Unauthorized))?;
        let mut request = Request::new(Method::GET, self.url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, key.bearer()?);
        headers.insert("x-posthog-project-api-key", token.header()?);
        let has_tag = etag.is_some();
        headers.extend(etag.map(|etag| (IF_NONE_MATCH, etag)));
        let answer = send(&self.client, request, 0, LONGEST).await?;
        if has_tag && answer.status == 304 {
            return Ok(Fetched::Unchanged);
        }
        let etag = tag(&answer.headers);
        let body = answer.into_body(SystemTime::now(), self.longest_retry_after, key.expose())?;
        Ok(Fetched::New(Arc::new(LocalFlags::read(&body)?), etag))
    }
}

fn tag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).cloned()
}
