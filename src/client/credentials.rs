use super::PostHog;
use super::running::Running;
use crate::credentials::CredentialsError;
use crate::health::Finding;

impl PostHog {
    /// Reads the [`CredentialSource`](crate::CredentialSource)s of the project token and of the secret key of
    /// [local evaluation](crate::PostHogBuilder::local_evaluation) again, and returns whether another token or key is in
    /// use now. Requests in flight finish with the old one.
    ///
    /// A file needs no such call, because it is checked every 10 s. Nor does a token that PostHog already refuses. Call it
    /// to use a provider's or an environment's new token before that, or to see that a new one was accepted.
    ///
    /// Concurrent calls share one reading, which starts after each of them. Returns `Ok(false)` for a
    /// [fixed](crate::CredentialSource::fixed) token and when disabled.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] if a source gives no token or key that works. The one in use stays in use; the other one may
    /// have changed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the wait, not the reading.
    pub async fn reload_credentials(&self) -> Result<bool, CredentialsError> {
        let Some(running) = self.running() else { return Ok(false) };
        let secret_key = async {
            match &running.secret_keys {
                Some(keys) => keys.reload().await,
                None => Ok(false),
            }
        };
        let (token, secret_key) = tokio::join!(running.tokens.reload(), secret_key);
        Ok(token? | secret_key?)
    }
}

impl Running {
    /// Returns what a probe would find, if there is no token.
    pub fn has_no_token(&self) -> Option<Finding> {
        self.tokens.current().is_none().then(Finding::no_token)
    }
}
