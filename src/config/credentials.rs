use super::PostHogBuilder;
use crate::credentials::CredentialSource;

impl PostHogBuilder {
    /// Where the project token comes from, instead of what [`PostHog::builder`](crate::PostHog::builder) or
    /// [`PostHog::from_env`](crate::PostHog::from_env) was told: with it the environment need not have a token.
    /// Default the token that was given, for as long as the client lives; from the environment, the variable or the
    /// file that it names.
    pub fn credentials(mut self, source: CredentialSource) -> Self {
        self.credentials = Ok(source);
        self
    }
}
