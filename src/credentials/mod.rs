//! The project token and the secret key: the source of each ([`CredentialSource`]), the one in use ([`Credentials`]), and
//! the task that replaces it while the client runs ([`renewal`]).

mod current;
mod error;
mod file;
#[cfg(test)]
mod fuzz;
mod key;
mod provider;
mod renewal;
mod secret_key;
mod source;
mod token;

pub use current::Credentials;
pub use error::CredentialsError;
pub use key::Key;
pub use renewal::Opened;
pub use secret_key::SecretKey;
pub use source::{CredentialSource, KeyOrigin};
pub use token::ProjectToken;
