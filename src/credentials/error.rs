use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::ConfigError;

/// Why a [`CredentialSource`](crate::CredentialSource) gave no key that works. The one in use stays in use.
///
/// Shows no key, so it can be logged as it is; what a provider failed with is in
/// [`source`](StdError::source) only, since it may repeat what it read.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file or variable is not there or cannot be read, or what it holds is no such key.
    #[error(transparent)]
    Invalid(ConfigError),
    /// The provider returned an error or panicked.
    #[error("the provider failed")]
    Provider(#[source] Arc<dyn StdError + Send + Sync>),
    /// The provider took longer than 30 s.
    #[error("the provider did not answer within 30 s")]
    TimedOut,
    /// The client was shut down, or its runtime has ended.
    #[error("the client has ended: its keys are not renewed any more")]
    Ended,
}

impl fmt::Debug for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialsError({self})")
    }
}

impl From<ConfigError> for CredentialsError {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(error)
    }
}
