use std::sync::Arc;

use super::source::{Kind, Origin, from_environment};
use super::{CredentialSource, Credentials, CredentialsError, Key};
use crate::aside::aside;

impl<K: Key> Credentials<K> {
    /// A key that never changes.
    pub(crate) fn fixed(key: K) -> Arc<Self> {
        Self::new(Some(key), None)
    }
}

impl CredentialSource {
    /// The key that it gives now. A provider is asked once.
    pub(crate) async fn look<K: Key>(self) -> Result<K, CredentialsError> {
        self.validate()?;
        match self.kind {
            Kind::Fixed(key) => Ok(K::parse(&key)?),
            Kind::Changing(Origin::Environment { variable, lookup }) => {
                Ok(from_environment(variable, lookup)?)
            }
            Kind::Changing(Origin::File(file)) => match aside(move || file.read().1).await {
                Some(key) => Ok(key?),
                None => Err(CredentialsError::Ended),
            },
            Kind::Changing(Origin::Provider(provider)) => provider.ask().await,
        }
    }
}
