use std::sync::Arc;

use super::file::aside;
use super::source::{Kind, Origin, from_environment};
use super::{CredentialSource, Credentials, CredentialsError, ProjectToken};

impl Credentials {
    /// A token that never changes.
    pub(crate) fn fixed(token: ProjectToken) -> Arc<Self> {
        Self::new(Some(token), None)
    }
}

impl CredentialSource {
    /// The token that it gives now. A provider is asked once.
    pub(crate) async fn look(self) -> Result<ProjectToken, CredentialsError> {
        self.validate()?;
        match self.kind {
            Kind::Fixed(token) => Ok(ProjectToken::parse(&token)?),
            Kind::Changing(Origin::Environment { variable, lookup }) => {
                Ok(from_environment(variable, lookup)?)
            }
            Kind::Changing(Origin::File(file)) => match aside(move || file.read().1).await {
                Some(token) => Ok(token?),
                None => Err(CredentialsError::Ended),
            },
            Kind::Changing(Origin::Provider(provider)) => provider.ask().await,
        }
    }
}
