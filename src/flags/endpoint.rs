use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde_json::Value;

use super::answer::FlagsAnswer;
use super::options::Question;
use crate::credentials::{Credentials, ProjectToken};
use crate::transport::{endpoint, post};
use crate::{Error, ErrorKind};

/// `POST {host}/flags/?v=2`: one call, one attempt.
#[derive(Clone, Debug)]
pub struct Endpoint {
    client: reqwest::Client,
    url: Url,
    credentials: Arc<Credentials<ProjectToken>>,
    longest_retry_after: Duration,
}

impl Endpoint {
    pub fn new(
        client: &reqwest::Client,
        host: &Url,
        credentials: &Arc<Credentials<ProjectToken>>,
        longest_retry_after: Duration,
    ) -> Self {
        let url = endpoint(host, "/flags/", Some("v=2"));
        Self { client: client.clone(), url, credentials: Arc::clone(credentials), longest_retry_after }
    }

    pub async fn send(self, question: Question) -> Result<FlagsAnswer, Error> {
        // A provider has given none yet.
        let token = self.credentials.current().ok_or_else(|| Error::new(ErrorKind::Unauthorized))?;
        let result = self.send_as(&token, &question).await;
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unauthorized) {
            self.credentials.renew();
        }
        result
    }

    async fn send_as(&self, token: &ProjectToken, question: &str) -> Result<FlagsAnswer, Error> {
        let answer =
            post(&self.client, self.url.clone(), body(token, question).into(), false, LONGEST).await?;
        let body = answer.into_body(SystemTime::now(), self.longest_retry_after, token.expose())?;
        FlagsAnswer::read(&body)
    }
}

/// A thousand flags with payloads are about one.
const LONGEST: usize = 16 * 1024 * 1024;

/// The question with the token as its first field.
fn body(token: &ProjectToken, question: &str) -> String {
    let token = Value::from(token.expose());
    format!("{{\"api_key\":{token},{}", question.trim_start_matches('{'))
}
