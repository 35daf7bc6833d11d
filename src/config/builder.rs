use std::fmt;

use super::settings::{Enrichment, Settings};
use super::{Reviewed, env, host};
use crate::ConfigError;
use crate::client::PostHog;
use crate::credentials::{CredentialSource, Opened};
use crate::flags::FlagsConfig;

/// Configures and starts a [`PostHog`]. Every value has a default that suits a production service; each
/// method's page tells it and the reason.
#[must_use = "nothing is started until build() is called"]
pub struct PostHogBuilder {
    pub(super) credentials: Result<CredentialSource, ConfigError>,
    pub(super) host: String,
    pub(super) environment_error: Option<ConfigError>,
    pub(super) allow_insecure_http: bool,
    pub(super) disabled: bool,
    pub(super) settings: Settings,
    pub(super) enrichment: Enrichment,
}

impl PostHogBuilder {
    pub(crate) fn new(source: impl Into<CredentialSource>) -> Self {
        Self {
            credentials: Ok(source.into()),
            host: "us".into(),
            environment_error: None,
            allow_insecure_http: false,
            disabled: false,
            settings: Settings::default(),
            enrichment: Enrichment { hooks: Vec::new(), is_server: true, geoip: true },
        }
    }

    pub(crate) fn from_env() -> Self {
        match env::read(|name| std::env::var_os(name)) {
            Ok(environment) => {
                let builder = Self { credentials: environment.token, ..Self::new("") };
                let builder = builder.disabled(environment.disabled);
                match environment.host {
                    Some(host) => builder.host(host),
                    None => builder,
                }
            }
            Err(error) => Self { environment_error: Some(error), ..Self::new("") },
        }
    }

    /// Where the project token comes from, instead of what [`PostHog::builder`] or
    /// [`PostHog::from_env`] was told: with it the environment need not have a token.
    /// Default the token that was given, for as long as the client lives; from the environment, the variable or the
    /// file that it names.
    pub fn credentials(mut self, source: CredentialSource) -> Self {
        self.credentials = Ok(source);
        self
    }

    /// Where PostHog is: `"us"`, `"eu"`, an app host (`https://eu.posthog.com`, mapped to its ingestion host
    /// as the SDK does), or the URL of your own PostHog or reverse proxy. Default `"us"`, as in the SDK.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Takes `http://` to a host other than this machine. Default no: the token and every event would be
    /// readable on the way.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.allow_insecure_http = allow;
        self
    }

    /// Accepts all calls and sends nothing. Health says so. Default no. For development and tests.
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// How [`PostHog::flags`] asks, and for how long an answer stands in. See [`FlagsConfig`] for the defaults.
    pub fn flags(mut self, flags: FlagsConfig) -> Self {
        self.settings.flags = flags;
        self
    }

    /// Checks the configuration and starts the client: one background task on the current runtime.
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a value cannot work, or outside a tokio runtime. It names the value, what is wrong with it,
    /// and what to do:
    ///
    /// ```
    /// # use posthog_health::PostHog;
    /// let error = PostHog::builder("phx_personal").build().unwrap_err();
    /// assert!(error.to_string().starts_with("project_token is a personal API key (phx_…): use the project token (phc_…)"));
    /// ```
    pub fn build(self) -> Result<PostHog, ConfigError> {
        let origin = self.credentials.as_ref().map(CredentialSource::origin).ok();
        let target = match (self.disabled, self.environment_error) {
            (true, _) => None,
            (false, Some(error)) => return Err(error),
            (false, None) => {
                Some((host::parse(&self.host, self.allow_insecure_http)?, Opened::open(self.credentials?)?))
            }
        };
        self.settings.validate()?;
        let reviewed = Reviewed::of(&self.settings, origin, target.as_ref().map(|(host, _)| host));
        PostHog::start(target, self.settings, self.enrichment, reviewed)
    }
}

impl fmt::Debug for PostHogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostHogBuilder").finish_non_exhaustive()
    }
}
