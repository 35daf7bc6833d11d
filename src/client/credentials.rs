use std::sync::PoisonError;

use tokio::task::JoinHandle;

use super::PostHog;
use super::running::Running;
use crate::credentials::CredentialsError;
use crate::health::Finding;

impl PostHog {
    /// Reads the [`CredentialSource`](crate::CredentialSource) again, now, and tells whether another token is in use
    /// from here on. Requests that are under way end with the old one. Not needed for a file, which is looked at
    /// every 10 s, nor when the old token is refused already: for a provider or an environment whose new token is to
    /// be used before that, and for whoever wants to see that a new one was taken.
    ///
    /// Calls at the same time share one reading, which begins after each of them. `Ok(false)` for a
    /// [fixed](crate::CredentialSource::fixed) token, and when disabled.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] when the source gives no token that works. The one in use stays in use.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting, not the reading.
    pub async fn reload_credentials(&self) -> Result<bool, CredentialsError> {
        match &self.inner.running {
            Some(running) => running.credentials.reload().await,
            None => Ok(false),
        }
    }
}

impl Running {
    /// Ends the renewal of the token. Gives its task.
    pub(super) fn end_renewal(&self) -> Option<JoinHandle<()>> {
        let task = self.renewing.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        task.abort();
        Some(task)
    }

    /// What a probe would find without a token.
    pub(super) fn has_no_token(&self) -> Option<Finding> {
        self.credentials.current().is_none().then(Finding::no_token)
    }
}
