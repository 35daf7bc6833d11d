use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Api;
use crate::credentials::ProjectToken;
use crate::{Error, ErrorKind};

/// Whose refusal a 401 or 403 is. A firewall or a proxy answers 403 to content that it does not like, and only PostHog
/// knows the token, so the unbilled probe is asked.
#[derive(Debug, Default)]
pub struct TokenChecks(Mutex<Option<Check>>);

#[derive(Debug)]
struct Check {
    token: ProjectToken,
    at: Instant,
    finding: Finding,
}

#[derive(Clone, Copy, Debug)]
enum Finding {
    /// PostHog accepts the token, or something else answers in its place.
    NotTheToken,
    Refused,
    Unknown,
}

/// How long a finding is used. Refusals that arrive together share one probe.
const FRESH: Duration = Duration::from_secs(10);
/// How long a finding is used before events are sent. Requests that leave together share one probe, and the request after
/// a pause asks again.
const FRESH_BEFORE: Duration = Duration::from_secs(1);

impl Api {
    /// Decides what a refusal of this token means.
    pub async fn attribute(&self, error: Error, token: &ProjectToken) -> Error {
        // A token that was replaced meanwhile is of no interest.
        if !error.kind().is_about_the_token() || self.tokens.current().as_ref() != Some(token) {
            return error;
        }
        match self.check_token(token, FRESH).await {
            Finding::NotTheToken => error.with_kind(ErrorKind::WrongHost),
            Finding::Refused => error.with_kind(ErrorKind::Unauthorized),
            // PostHog answers 401 to a token that it does not know.
            Finding::Unknown if error.kind() == ErrorKind::Forbidden => error.with_kind(ErrorKind::WrongHost),
            Finding::Unknown => error,
        }
    }

    /// Asks PostHog about a token that a probe has found refused, before events are sent with it. PostHog's capture accepts
    /// the events of an unknown token and discards them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] until a probe finds the token accepted.
    pub async fn check_refused_token(&self, token: &ProjectToken) -> Result<(), Error> {
        if !self.tokens.is_unusable() {
            return Ok(());
        }
        match self.check_token(token, FRESH_BEFORE).await {
            Finding::NotTheToken => Ok(()),
            Finding::Refused | Finding::Unknown => Err(Error::new(ErrorKind::Unauthorized)),
        }
    }

    async fn check_token(&self, token: &ProjectToken, fresh: Duration) -> Finding {
        // Locked while PostHog is asked, so that others wait for the answer.
        let mut latest = self.token_checks.0.lock().await;
        if let Some(check) =
            latest.as_ref().filter(|check| check.token == *token && check.at.elapsed() < fresh)
        {
            return check.finding;
        }
        let finding = match self.probe(token).await.map_err(|error| error.kind()) {
            Ok(()) => {
                self.tokens.found(token, false);
                Finding::NotTheToken
            }
            Err(ErrorKind::WrongHost) => Finding::NotTheToken,
            Err(ErrorKind::Unauthorized) => Finding::Refused,
            Err(_) => Finding::Unknown,
        };
        *latest = Some(Check { token: token.clone(), at: Instant::now(), finding });
        finding
    }
}
