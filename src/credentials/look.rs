use super::source::Kind;
use super::{CredentialSource, Credentials, CredentialsError, Key, KeyOrigin};

impl CredentialSource {
    /// The key that it gives now. A provider is asked once.
    pub(crate) async fn look<K: Key>(self) -> Result<K, CredentialsError> {
        self.validate()?;
        match self.kind {
            Kind::Fixed(key) => Ok(K::parse(&key)?),
            Kind::Changing(origin) => origin.read(&mut None).await,
        }
    }
}

impl<K> Credentials<K> {
    pub(crate) fn origin(&self) -> &KeyOrigin {
        &self.origin
    }
}
