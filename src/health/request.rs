use std::time::{Duration, SystemTime};

use reqwest::Url;
use tokio::time::timeout;

use crate::credentials::ProjectToken;
use crate::outcome::Answer;
use crate::transport::{LONGEST_ANSWER, endpoint, post};
use crate::{Error, ErrorKind};

/// The request that is not billed: `POST /flags/` with `disable_flags`, which checks the token and leaves before anything
/// is evaluated or counted.
#[derive(Clone, Debug)]
pub(crate) struct ProbeRequest {
    client: reqwest::Client,
    url: Url,
    timeout: Duration,
}

impl ProbeRequest {
    pub(crate) fn new(client: reqwest::Client, host: &Url, timeout: Duration) -> Self {
        Self { client, url: endpoint(host, "/flags/", Some("v=2&config=false")), timeout }
    }

    /// Asks within the timeout, and tells what the answer means.
    pub(super) async fn send(&self, token: &ProjectToken) -> Result<(), Error> {
        match timeout(self.timeout, self.send_confirmed(token)).await {
            Ok(result) => result,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout).with_source(elapsed)),
        }
    }

    /// A 401 is asked about twice: a token that was just created may be unknown for a moment.
    async fn send_confirmed(&self, token: &ProjectToken) -> Result<(), Error> {
        match self.send_once(token).await {
            Err(error) if error.kind() == ErrorKind::Unauthorized => self.send_once(token).await,
            result => result,
        }
    }

    async fn send_once(&self, token: &ProjectToken) -> Result<(), Error> {
        Self::read(self.ask(token).await?, token)
    }

    /// The answer as it came.
    pub(crate) async fn ask(&self, token: &ProjectToken) -> Result<Answer, Error> {
        let body = serde_json::json!({ "api_key": token.expose(), "disable_flags": true }).to_string();
        post(&self.client, self.url.clone(), body.into(), false, LONGEST_ANSWER).await
    }

    /// What an answer means.
    pub(crate) fn read(answer: Answer, token: &ProjectToken) -> Result<(), Error> {
        // The hint is for whoever sends again; a probe does not before its cache period is over.
        let result = answer.read(SystemTime::now(), Duration::ZERO, token.expose());
        result.map(|_| ()).map_err(|error| match (error.kind(), error.status()) {
            // This request is never malformed and never large: who says so is not PostHog.
            (ErrorKind::BadRequest | ErrorKind::TooLarge, Some(status)) => {
                Error::new(ErrorKind::WrongHost).with_status(status)
            }
            _ => error,
        })
    }
}
