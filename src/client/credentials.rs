use super::PostHog;
use super::running::Running;
use crate::credentials::CredentialsError;
use crate::health::Finding;

impl PostHog {
    /// Reads the [`CredentialSource`](crate::CredentialSource)s of the project token and of the secret key of
    /// [local evaluation](crate::PostHogBuilder::local_evaluation) again, now, and tells whether another token or key is
    /// in use from here on. Requests that are under way end with the old one. Not needed for a file, which is looked at
    /// every 10 s, nor when the old token is refused already: for a provider or an environment whose new token is to
    /// be used before that, and for whoever wants to see that a new one was taken.
    ///
    /// Calls at the same time share one reading, which begins after each of them. `Ok(false)` for a
    /// [fixed](crate::CredentialSource::fixed) token, and when disabled.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] when a source gives no token or key that works. The one in use stays in use; the other may
    /// have been changed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting, not the reading.
    pub async fn reload_credentials(&self) -> Result<bool, CredentialsError> {
        match self.running() {
            Some(running) => running.reload().await,
            None => Ok(false),
        }
    }
}

impl Running {
    async fn reload(&self) -> Result<bool, CredentialsError> {
        let secret_key = async {
            match &self.secret_keys {
                Some(keys) => keys.reload().await,
                None => Ok(false),
            }
        };
        let (token, secret_key) = tokio::join!(self.api.tokens.reload(), secret_key);
        Ok(token? | secret_key?)
    }

    /// What a probe would find without a token.
    pub fn has_no_token(&self) -> Option<Finding> {
        self.api.tokens.current().is_none().then(Finding::no_token)
    }
}
