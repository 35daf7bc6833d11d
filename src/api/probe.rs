//! `POST {host}/flags/` with `disable_flags`: PostHog checks the token and returns before it evaluates or counts
//! anything, so the request is not billed.

use std::time::Duration;

use super::{Answer, Api, LONGEST_ANSWER};
use crate::credentials::ProjectToken;
use crate::rt::clock;
use crate::{Error, ErrorKind};

impl Api {
    /// Asks whether PostHog is there and accepts this token.
    pub async fn probe(&self, token: &ProjectToken) -> Result<(), Error> {
        self.ask_probe(token).await?.read_probe(token)
    }

    /// The answer as it came.
    pub async fn ask_probe(&self, token: &ProjectToken) -> Result<Answer, Error> {
        let body = serde_json::json!({ "api_key": token.expose(), "disable_flags": true }).to_string();
        self.post("/flags/", "v=2&config=false", body, LONGEST_ANSWER).await
    }
}

impl Answer {
    /// What the answer to a probe means.
    pub fn read_probe(self, token: &ProjectToken) -> Result<(), Error> {
        // The hint is for whoever sends again. A probe does not before its cache period is over.
        let result = self.into_body(clock::wall(), Duration::ZERO, token.expose());
        result.map(|_| ()).map_err(|error| match (error.kind(), error.status()) {
            // This request is never malformed and never large, and PostHog answers 401 to a token that it does not know. So
            // the answer is not PostHog's.
            (ErrorKind::BadRequest | ErrorKind::TooLarge | ErrorKind::Forbidden, Some(status)) => {
                Error::new(ErrorKind::WrongHost).with_status(status)
            }
            _ => error,
        })
    }
}
