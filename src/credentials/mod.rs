//! The project token and the secret key: where each comes from ([`CredentialSource`]), the one in use
//! ([`Credentials`]), and how another takes its place while the client runs ([`renewal`]).

mod current;
mod error;
mod file;
#[cfg(test)]
mod fuzz;
mod key;
#[cfg(feature = "preflight")]
mod look;
mod provider;
mod renewal;
mod secret_key;
mod source;
mod token;

pub(crate) use current::Credentials;
pub use error::CredentialsError;
pub(crate) use key::Key;
pub(crate) use renewal::Opened;
pub(crate) use secret_key::SecretKey;
pub use source::CredentialSource;
pub(crate) use source::KeyOrigin;
pub(crate) use token::ProjectToken;
