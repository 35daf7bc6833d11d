use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;

use super::check::Finding;
use super::configuration;
use crate::PostHog;
use crate::config::{PostHogBuilder, Reviewed, Unbuilt};
use crate::credentials::{CredentialSource, CredentialsError, Key, ProjectToken, SecretKey};

/// Whom the preflight is about.
pub(super) enum Entry {
    /// A client that runs.
    Client(PostHog),
    /// One that is not built yet, and may be impossible to build.
    Builder(Box<PostHogBuilder>),
}

/// The client as far as it is known. What is not known has the finding that says why in its place.
pub(super) struct Subject {
    pub(super) settings: Finding,
    pub(super) is_disabled: bool,
    pub(super) token: Result<ProjectToken, Finding>,
    /// The one that was named, else that of local evaluation, if it is on.
    pub(super) secret_key: Option<Result<SecretKey, Finding>>,
    pub(super) host: Result<Url, Finding>,
    pub(super) reviewed: Reviewed,
}

/// A file on a mount that hangs, a vault that does not answer: the other checks must still have their time.
const READING: Duration = Duration::from_secs(4);

impl Entry {
    /// With the secret key that was named.
    pub(super) async fn open(self, named: Option<CredentialSource>) -> Subject {
        let origin = named.as_ref().map(CredentialSource::origin);
        let mut subject = match self {
            Self::Client(client) => Subject::of_running(&client, named).await,
            Self::Builder(builder) => Subject::of_unbuilt(builder.unbuilt(), named).await,
        };
        subject.reviewed.key_origin = origin.or(subject.reviewed.key_origin);
        subject
    }
}

impl Subject {
    async fn of_running(client: &PostHog, named: Option<CredentialSource>) -> Self {
        let reviewed = client.reviewed().clone();
        let is_disabled = reviewed.host.is_none();
        let token =
            client.token().ok_or_else(|| if is_disabled { disabled() } else { none_yet(ProjectToken::NAME) });
        let host = reviewed.host.clone().ok_or_else(disabled);
        let secret_key = match named {
            Some(source) => Some(look(source).await),
            None => client.secret_key().map(|key| key.ok_or_else(|| none_yet(SecretKey::NAME))),
        };
        Self { settings: configuration::settings(&Ok(())), is_disabled, token, secret_key, host, reviewed }
    }

    async fn of_unbuilt(unbuilt: Unbuilt, named: Option<CredentialSource>) -> Self {
        let Unbuilt { disabled: is_disabled, environment, source, secret_key, host, settings, reviewed } =
            unbuilt;
        let secret_key = async {
            match named.or(secret_key.filter(|_| !is_disabled)) {
                Some(source) => Some(look(source).await),
                None => None,
            }
        };
        let token = async {
            match source {
                Ok(source) => look(source).await,
                Err(error) => Err(Finding::refused(&error)),
            }
        };
        let (token, secret_key) = tokio::join!(token, secret_key);
        let (token, host, settings) = match environment {
            _ if is_disabled => (Err(disabled()), Err(disabled()), settings),
            Some(error) => (Err(see_settings()), Err(see_settings()), Err(error)),
            None => (token, host.map_err(|error| Finding::refused(&error)), settings),
        };
        let settings = configuration::settings(&settings);
        Self { settings, is_disabled, token, secret_key, host, reviewed }
    }
}

async fn look<K: Key>(source: CredentialSource) -> Result<K, Finding> {
    match timeout(READING, source.read_once()).await {
        Ok(key) => key.map_err(|error| not_given(&error)),
        Err(_) => Err(hangs()),
    }
}

fn disabled() -> Finding {
    Finding::skipped("the client is disabled")
}

fn see_settings() -> Finding {
    Finding::skipped("the environment cannot be read: see config.settings")
}

fn not_given(error: &CredentialsError) -> Finding {
    match error {
        CredentialsError::Invalid(error) => Finding::refused(error),
        error => {
            Finding::fail(error.to_string(), "look at the vault, the mount, and your provider's own log")
        }
    }
}

fn hangs() -> Finding {
    Finding::fail(
        format!("not read within {} s", READING.as_secs()),
        "look at the vault or the mount that it comes from: it hangs",
    )
}

fn none_yet(what: &str) -> Finding {
    Finding::fail(
        format!("the provider has given no {what} yet"),
        "look at the vault and at your provider's own log, then run this again",
    )
}
