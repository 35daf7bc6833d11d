//! `POST {host}/flags/?v=2`: evaluates a person's feature flags. Each call that PostHog answers is billed.

use serde_json::Value;

use super::Api;
use crate::credentials::ProjectToken;
use crate::{Error, ErrorKind};

impl Api {
    /// Asks a question, a JSON object without the token, and returns the body of the answer.
    pub async fn flags(&self, question: &str) -> Result<Vec<u8>, Error> {
        let token = self.token()?;
        let result = self.flags_as(&token, question).await;
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unauthorized) {
            self.tokens.renew();
        }
        result
    }

    async fn flags_as(&self, token: &ProjectToken, question: &str) -> Result<Vec<u8>, Error> {
        let answer = self.post("/flags/", "v=2", body(token, question), LONGEST).await?;
        self.body_of(answer, token.expose())
    }
}

/// The answer about a thousand flags with payloads has about 1 MiB.
const LONGEST: usize = 16 * 1024 * 1024;

/// The question with the token as its first member.
fn body(token: &ProjectToken, question: &str) -> String {
    let token = Value::from(token.expose());
    format!("{{\"api_key\":{token},{}", question.trim_start_matches('{'))
}
