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

/// The source of the project token, which decides how the token can change while the client runs.
///
/// | source | read | a new token is used |
/// |---|---|---|
/// | [`fixed`](Self::fixed) | by `build()` | never |
/// | [`environment`](Self::environment) | by `build()` | on demand, or when the old one is refused |
/// | [`file`](Self::file) | by `build()` | on demand, when the old one is refused, or within 10 s after the file has changed |
/// | [`provider`](Self::provider) | in the background, before the first request | on demand, or when the old one is refused |
///
/// *Refused* means that PostHog answered 401 or 403, or that a health probe found the token unknown. *On demand* means
/// [`PostHog::reload_credentials`](crate::PostHog::reload_credentials). If a source fails, the token in use stays in use, and
/// one log line per episode has the reason.
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
/// # Memory
///
/// The client overwrites its copies of the token, and the text that it read from a file or a provider, before it frees
/// them. It does not overwrite the environment, which belongs to the process, request bodies and TLS buffers, all of which
/// contain the token, or a provider's own copies.
pub struct CredentialSource {
    pub(crate) kind: Kind,
    pub(crate) check_every: Duration,
}

pub enum Kind {
    Fixed(Zeroizing<String>),
    Environment { variable: &'static str, lookup: fn(&str) -> Option<OsString> },
    File(KeyFile),
    Provider(Provider),
}

/// The kind of a source, without the key.
#[cfg_attr(not(feature = "preflight"), allow(dead_code, reason = "only the preflight looks at it"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Code passed the key, wherever it had it from.
    Literal,
    Environment(&'static str),
    File(PathBuf),
    Provider,
}

/// A rotation must be noticed while its operator watches, and a check costs microseconds.
const CHECK_EVERY: Duration = Duration::from_secs(10);

impl CredentialSource {
    /// Uses this token for the client's whole life, as [`PostHog::builder`](crate::PostHog::builder) with a token does.
    pub fn fixed(project_token: impl Into<String>) -> Self {
        Kind::Fixed(Zeroizing::new(project_token.into())).into()
    }

    /// Reads this variable of the process's environment. Other processes cannot change it, so a new token needs a restart,
    /// unless the process itself sets the variable and then [reloads](crate::PostHog::reload_credentials).
    pub fn environment(variable: &'static str) -> Self {
        Kind::Environment { variable, lookup: |name| std::env::var_os(name) }.into()
    }

    /// Reads this file, such as a mounted secret. Whitespace around the token is ignored, and links are followed. Replace the
    /// file by a rename, as Kubernetes does: an in-place write can be read half-finished.
    ///
    /// The file's metadata is checked every 10 s, on a separate thread, and the file is read when its metadata has changed.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::file_called(path.into(), "credentials")
    }

    pub(crate) fn file_called(path: PathBuf, field: &'static str) -> Self {
        Kind::File(KeyFile { path, field }).into()
    }

    /// Calls your own code, for example a vault's client.
    ///
    /// `build()` does not wait for the provider. Until it has returned a token, events are kept and health is degraded.
    /// Calls never overlap. A call fails after 30 s, or if it panics. While there is no token, or the one in use is refused,
    /// the provider is called again after 1 s, doubling up to the
    /// [refusal pause](crate::PostHogBuilder::refusal_pause).
    ///
    /// The provider runs on the client's runtime, so it must not block. Log its errors yourself: the client does not, because
    /// an error may repeat the input that it read. `shutdown` drops a pending call.
    pub fn provider<F, Fut, E>(provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Kind::Provider(Provider::new(provider)).into()
    }

    /// Sets how often a file's metadata is checked. The default is 10 s: a rotation is noticed while its operator watches,
    /// and a check costs microseconds. The setting has no effect on other sources.
    pub fn check_every(mut self, period: Duration) -> Self {
        self.check_every = period;
        self
    }

    /// Returns the kind of the source, without the key.
    pub(crate) fn origin(&self) -> KeyOrigin {
        match &self.kind {
            Kind::Fixed(_) => KeyOrigin::Literal,
            Kind::Environment { variable, .. } => KeyOrigin::Environment(variable),
            Kind::File(file) => KeyOrigin::File(file.path.clone()),
            Kind::Provider(_) => KeyOrigin::Provider,
        }
    }

    /// Reads the key once, without a renewal.
    #[cfg(feature = "preflight")]
    pub(crate) async fn read_once<K: Key>(self) -> Result<K, CredentialsError> {
        self.validate()?;
        self.kind.read(&mut None).await
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("check_every", self.check_every, check::MILLISECOND, check::HOUR * 24)
    }
}

impl Kind {
    /// Reads the present key. A provider is called once. For a file, `seen` becomes the stamp of the file that was read.
    pub async fn read<K: Key>(&self, seen: &mut Stamp) -> Result<K, CredentialsError> {
        match self {
            Self::Fixed(key) => Ok(K::parse(key)?),
            Self::Environment { variable, lookup } => Ok(from_environment(variable, *lookup)?),
            Self::File(file) => {
                let (path, field) = (file.clone(), file.field);
                let (stamp, key) = detached_thread::run(move || path.read()).await.ok_or_else(|| {
                    ConfigError::new(field, "cannot be read without a thread", "raise the limit of threads")
                })?;
                *seen = stamp;
                Ok(key?)
            }
            Self::Provider(provider) => provider.fetch().await,
        }
    }
}

/// Reads a variable of the environment.
pub fn from_environment<K: Key>(
    variable: &'static str,
    lookup: fn(&str) -> Option<OsString>,
) -> Result<K, ConfigError> {
    let value = lookup(variable)
        .ok_or_else(|| ConfigError::new(variable, "is not set", format!("set it to the {}", K::NAME)))?;
    let value =
        value.into_string().map_err(|_| ConfigError::new(variable, "is not UTF-8", "set it again"))?;
    K::parse(&Zeroizing::new(value)).map_err(|error| error.of(variable))
}

impl From<Kind> for CredentialSource {
    fn from(kind: Kind) -> Self {
        Self { kind, check_every: CHECK_EVERY }
    }
}

/// Creates a [`fixed`](CredentialSource::fixed) source.
impl From<&str> for CredentialSource {
    fn from(project_token: &str) -> Self {
        Self::fixed(project_token)
    }
}

/// Creates a [`fixed`](CredentialSource::fixed) source.
impl From<String> for CredentialSource {
    fn from(project_token: String) -> Self {
        Self::fixed(project_token)
    }
}

/// Creates a [`fixed`](CredentialSource::fixed) source.
impl From<&String> for CredentialSource {
    fn from(project_token: &String) -> Self {
        Self::fixed(project_token)
    }
}

/// Shows the kind alone, because a path may be a token that was passed by mistake.
impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Fixed(_) => "CredentialSource::fixed",
            Kind::Environment { .. } => "CredentialSource::environment",
            Kind::File(_) => "CredentialSource::file",
            Kind::Provider(_) => "CredentialSource::provider",
        })
    }
}
