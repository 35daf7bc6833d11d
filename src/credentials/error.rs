use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::ConfigError;

/// Why a [`CredentialSource`](crate::CredentialSource) returned no usable key. The key in use stays in use.
///
/// The error contains no key, so it is safe to log. A provider's own error is only in [`source`](StdError::source), because
/// it may repeat the input that it read.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file or variable is missing or unreadable, or its content is not a valid key.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
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
