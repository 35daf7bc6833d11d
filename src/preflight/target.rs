use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;

use super::check::Finding;
use super::configuration;
use crate::PostHog;
use crate::api::Current;
use crate::config::{Configuration, PostHogBuilder, Settings};
use crate::credentials::{CredentialSource, CredentialsError, Key, KeyOrigin, ProjectToken, SecretKey};

/// Where a preflight learns about the client.
pub enum Source {
    /// A running client.
    Client(PostHog),
    /// A client that is not built yet, and may be impossible to build.
    Builder(Box<PostHogBuilder>),
}

/// The client, as far as it is known. An unknown value is replaced by the finding that says why.
pub struct Target {
    /// Whether `build()` accepts the settings.
    pub validity: Finding,
    pub is_disabled: bool,
    pub token: Result<ProjectToken, Finding>,
    /// `None` if there is no token, or the client is disabled.
    pub token_origin: Option<KeyOrigin>,
    /// The key that was named for the preflight, else that of local evaluation, if there is one.
    pub secret_key: Option<Result<SecretKey, Finding>>,
    pub secret_key_origin: Option<KeyOrigin>,
    pub host: Result<Url, Finding>,
    /// The capture protocol that a running client speaks.
    pub capture: Option<Current>,
    pub settings: Arc<Settings>,
}

/// A mount that hangs or a vault that does not answer must leave time for the other checks.
const READING: Duration = Duration::from_secs(4);

impl Source {
    /// Reads the credentials. `named` replaces the secret key of local evaluation.
    pub async fn open(self, named: Option<CredentialSource>) -> Target {
        let origin = named.as_ref().map(CredentialSource::origin);
        let target = match self {
            Self::Client(client) => Target::of_client(&client, named).await,
            Self::Builder(builder) => Target::of_configuration(builder.into_configuration(), named).await,
        };
        Target { secret_key_origin: origin.or(target.secret_key_origin), ..target }
    }
}

impl Target {
    async fn of_client(client: &PostHog, named: Option<CredentialSource>) -> Self {
        let running = client.running();
        let token = running
            .ok_or_else(disabled)
            .and_then(|running| running.tokens.current().ok_or_else(|| not_yet_given(ProjectToken::NAME)));
        let own_keys = running.and_then(|running| running.secret_keys.as_ref());
        let secret_key = match named {
            Some(source) => Some(read(source).await),
            None => own_keys.map(|keys| keys.current().ok_or_else(|| not_yet_given(SecretKey::NAME))),
        };
        Self {
            validity: configuration::settings(&Ok(())),
            is_disabled: running.is_none(),
            token,
            token_origin: running.map(|running| running.tokens.origin.clone()),
            secret_key,
            secret_key_origin: own_keys.map(|keys| keys.origin.clone()),
            host: running.map(|running| running.host.clone()).ok_or_else(disabled),
            capture: running.map(|running| running.monitor.capture()),
            settings: Arc::clone(client.settings()),
        }
    }

    async fn of_configuration(configuration: Configuration, named: Option<CredentialSource>) -> Self {
        let validity = configuration.validate();
        let Configuration {
            disabled: is_disabled, environment, token, host, local_evaluation, settings, ..
        } = configuration;
        let own_key = local_evaluation.map(|local| local.secret_key);
        let token_origin = token.as_ref().ok().filter(|_| !is_disabled).map(CredentialSource::origin);
        let secret_key_origin = own_key.as_ref().map(CredentialSource::origin);
        let secret_key = async {
            match named.or(own_key.filter(|_| !is_disabled)) {
                Some(source) => Some(read(source).await),
                None => None,
            }
        };
        let token = async {
            match token {
                Ok(source) => read(source).await,
                Err(error) => Err(Finding::refused(&error)),
            }
        };
        let (token, secret_key) = tokio::join!(token, secret_key);
        let (token, host, validity) = match environment {
            _ if is_disabled => (Err(disabled()), Err(disabled()), validity),
            Err(error) => (Err(see_settings()), Err(see_settings()), Err(error)),
            Ok(()) => (token, host.map_err(|error| Finding::refused(&error)), validity),
        };
        Self {
            validity: configuration::settings(&validity),
            is_disabled,
            token,
            token_origin,
            secret_key,
            secret_key_origin,
            host,
            capture: None,
            settings: Arc::new(settings),
        }
    }
}

async fn read<K: Key>(source: CredentialSource) -> Result<K, Finding> {
    match timeout(READING, source.read_once()).await {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(CredentialsError::Invalid(error))) => Err(Finding::refused(&error)),
        Ok(Err(error)) => {
            Err(Finding::fail(error.to_string(), "look at the vault, the mount, and your provider's own log"))
        }
        Err(_) => Err(Finding::fail(
            format!("not read within {} s", READING.as_secs()),
            "look at the vault or the mount that it comes from: it hangs",
        )),
    }
}

fn disabled() -> Finding {
    Finding::skipped("the client is disabled")
}

fn see_settings() -> Finding {
    Finding::skipped("the environment cannot be read: see config.settings")
}

fn not_yet_given(what: &str) -> Finding {
    Finding::fail(
        format!("the provider has given no {what} yet"),
        "look at the vault and at your provider's own log, then run this again",
    )
}
