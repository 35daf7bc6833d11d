use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::file::{KeyFile, Stamp};
use super::provider::Provider;
use super::{CredentialsError, Key};
use crate::ConfigError;
use crate::error::check;
use crate::rt::detached_thread;

/// Where the project token comes from, and so how it can be changed while the client runs.
///
/// | source | read | a new token is taken |
/// |---|---|---|
/// | [`fixed`](Self::fixed) | by `build()` | never |
/// | [`environment`](Self::environment) | by `build()` | on demand, or when the old one is refused |
/// | [`file`](Self::file) | by `build()` | the same, and within 10 s after the file has changed |
/// | [`provider`](Self::provider) | in the background, before the first request | on demand, or when the old one is refused |
///
/// *Refused* means that PostHog answered 401 or 403, or that a health probe found the token unknown. *On demand* is
/// [`PostHog::reload_credentials`](crate::PostHog::reload_credentials). A source that has no project token to give
/// changes nothing: the token in use stays, and a log line says why, once an episode.
///
/// ```no_run
/// use posthog_health::{CredentialSource, PostHog};
///
/// # async fn ask_the_vault() -> std::io::Result<String> { todo!() }
/// # async fn example() -> Result<(), posthog_health::ConfigError> {
/// let mounted = PostHog::builder(CredentialSource::file("/run/secrets/posthog/project-token")).build()?;
/// let from_a_vault = PostHog::from_env().credentials(CredentialSource::provider(ask_the_vault)).build()?;
/// # Ok(()) }
/// ```
///
/// `docs/key-rotation.md` has the procedure.
///
/// # What is overwritten in memory
///
/// The client's copies of the token, and what it read from a file or a provider: before they are freed. Not the
/// environment, which belongs to the process, nor request bodies and what TLS makes of them, since the token is in
/// each of them; nor what a provider had in its own hands.
pub struct CredentialSource {
    pub(super) kind: Kind,
    pub(crate) check_every: Duration,
}

pub(super) enum Kind {
    Fixed(Zeroizing<String>),
    Changing(Origin),
}

/// Where a key comes from that may change.
pub(super) enum Origin {
    Environment { variable: &'static str, lookup: fn(&str) -> Option<OsString> },
    File(KeyFile),
    Provider(Provider),
}

/// Where a token came from, to look at.
#[cfg_attr(not(feature = "preflight"), allow(dead_code, reason = "only the preflight looks at it"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// Code has it, or had it from somewhere that we cannot know.
    Literal,
    Environment(&'static str),
    File(PathBuf),
    Provider,
}

/// A rotation is to be noticed while somebody watches it, and a look costs microseconds.
const CHECK_EVERY: Duration = Duration::from_secs(10);

impl CredentialSource {
    /// This token, for as long as the client lives. [`PostHog::builder`](crate::PostHog::builder) with a token is
    /// the same.
    pub fn fixed(project_token: impl Into<String>) -> Self {
        Self { kind: Kind::Fixed(Zeroizing::new(project_token.into())), check_every: CHECK_EVERY }
    }

    /// This variable of the process's environment. Nobody outside can change that, so a new token needs a restart,
    /// or a process that sets the variable itself and then
    /// [reloads](crate::PostHog::reload_credentials).
    pub fn environment(variable: &'static str) -> Self {
        Origin::Environment { variable, lookup: |name| std::env::var_os(name) }.into()
    }

    /// This file, as mounted secrets are: blanks around the token are no part of it, and links are followed. Replace
    /// it by a rename, as Kubernetes does: who writes into it may be read halfway.
    ///
    /// Its metadata is looked at every 10 s, in a thread of its own; the file is read when they have changed.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::file_called(path.into(), "credentials")
    }

    pub(crate) fn file_called(path: PathBuf, field: &'static str) -> Self {
        Origin::File(KeyFile { path, field }).into()
    }

    /// Your own code, a vault's client for instance. `build()` does not wait for it: events are kept until it has
    /// given a token, and health is degraded meanwhile. One call at a time. After 30 s a call has failed; so it has
    /// when it panics. While there is no token, or the one in use is refused, it is called again after 1 s,
    /// doubling to the [refusal pause](crate::PostHogBuilder::refusal_pause).
    ///
    /// It runs on the client's runtime, so it must not block. Its error is in no log line, as it may repeat what it
    /// read: log it yourself. A `shutdown` drops it where it awaits.
    pub fn provider<F, Fut, E>(provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Origin::Provider(Provider::new(provider)).into()
    }

    /// How often a file's metadata are looked at. Default 10 s: a rotation is noticed while somebody watches it, and
    /// a look costs microseconds. Of no effect on other sources.
    pub fn check_every(mut self, period: Duration) -> Self {
        self.check_every = period;
        self
    }

    /// What it is, without what it holds.
    pub(crate) fn origin(&self) -> KeyOrigin {
        match &self.kind {
            Kind::Fixed(_) => KeyOrigin::Literal,
            Kind::Changing(Origin::Environment { variable, .. }) => KeyOrigin::Environment(variable),
            Kind::Changing(Origin::File(file)) => KeyOrigin::File(file.path.clone()),
            Kind::Changing(Origin::Provider(_)) => KeyOrigin::Provider,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("check_every", self.check_every, check::MILLISECOND, check::HOUR * 24)
    }
}

impl Origin {
    /// The key that it gives now. A provider is asked once. The stamp of a file that was read is put into `seen`.
    pub(super) async fn read<K: Key>(&self, seen: &mut Stamp) -> Result<K, CredentialsError> {
        match self {
            Self::Environment { variable, lookup } => Ok(from_environment(variable, *lookup)?),
            Self::File(file) => {
                let (path, field) = (file.clone(), file.field);
                let (stamp, key) = detached_thread::run(move || path.read()).await.ok_or_else(|| {
                    ConfigError::new(field, "cannot be read without a thread", "raise the limit of threads")
                })?;
                *seen = stamp;
                Ok(key?)
            }
            Self::Provider(provider) => provider.ask().await,
        }
    }
}

/// Reads what is at hand in this process.
pub(super) fn from_environment<K: Key>(
    variable: &'static str,
    lookup: fn(&str) -> Option<OsString>,
) -> Result<K, ConfigError> {
    let value = lookup(variable)
        .ok_or_else(|| ConfigError::new(variable, "is not set", format!("set it to the {}", K::NAME)))?;
    let value =
        value.into_string().map_err(|_| ConfigError::new(variable, "is not UTF-8", "set it again"))?;
    K::parse(&Zeroizing::new(value)).map_err(|error| error.of(variable))
}

impl From<Origin> for CredentialSource {
    fn from(origin: Origin) -> Self {
        Self { kind: Kind::Changing(origin), check_every: CHECK_EVERY }
    }
}

/// A [`fixed`](CredentialSource::fixed) token.
impl From<&str> for CredentialSource {
    fn from(project_token: &str) -> Self {
        Self::fixed(project_token)
    }
}

/// A [`fixed`](CredentialSource::fixed) token.
impl From<String> for CredentialSource {
    fn from(project_token: String) -> Self {
        Self::fixed(project_token)
    }
}

/// A [`fixed`](CredentialSource::fixed) token.
impl From<&String> for CredentialSource {
    fn from(project_token: &String) -> Self {
        Self::fixed(project_token)
    }
}

/// Shows the kind only: what was given as a path may be a token.
impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Fixed(_) => "CredentialSource::fixed",
            Kind::Changing(Origin::Environment { .. }) => "CredentialSource::environment",
            Kind::Changing(Origin::File(_)) => "CredentialSource::file",
            Kind::Changing(Origin::Provider(_)) => "CredentialSource::provider",
        })
    }
}
