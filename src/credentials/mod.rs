//! The project token: where it comes from ([`CredentialSource`]), the one in use ([`Credentials`]), and how
//! another takes its place while the client runs ([`renewal`]).

mod current;
mod error;
mod file;
#[cfg(feature = "preflight")]
mod look;
mod provider;
mod renewal;
mod source;
mod token;

pub(crate) use current::Credentials;
pub use error::CredentialsError;
#[cfg(feature = "preflight")]
pub(crate) use file::aside;
pub(crate) use renewal::Opened;
pub use source::CredentialSource;
pub(crate) use source::TokenOrigin;
pub(crate) use token::ProjectToken;
