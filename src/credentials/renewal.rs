use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::current::{Credentials, Reload, Replacement};
use super::file::Stamp;
use super::source::{Kind, from_environment};
use super::{CredentialSource, CredentialsError, Key};
use crate::ConfigError;
use crate::rt::{Episode, detached_thread, foreign, target};

/// A source after its first read.
pub struct Opened<K> {
    pub credentials: Arc<Credentials<K>>,
    /// `None` for a key that never changes.
    pub renewal: Option<Renewal<K>>,
}

/// The task that reads a source again: on request, after a refusal, and when the file has changed. A single task, so that
/// one renewal runs at a time. A request that arrives during a renewal is answered by the next one.
pub struct Renewal<K> {
    credentials: Arc<Credentials<K>>,
    kind: Kind,
    check_every: Duration,
    /// The stamp of the file at the last read.
    seen: Stamp,
    reloads: mpsc::UnboundedReceiver<Reload>,
    failing: Episode,
    /// A failure was logged, so the recovery will be logged too.
    failure_logged: bool,
}

impl<K: Key> Opened<K> {
    /// Opens a source, and reads its first key. A provider is asked later, because it may take long.
    ///
    /// # Errors
    ///
    /// Returns an error if the source is misconfigured or its first key is not valid.
    pub fn open(source: CredentialSource) -> Result<Self, ConfigError> {
        source.validate()?;
        let origin = source.origin();
        let CredentialSource { kind, check_every } = source;
        let (seen, key) = match &kind {
            Kind::Fixed(key) => {
                return Ok(Self { credentials: Credentials::fixed(K::parse(key)?), renewal: None });
            }
            Kind::Environment { variable, lookup } => (None, Some(from_environment(variable, *lookup)?)),
            Kind::File(file) => {
                let (stamp, key) = file.read();
                (stamp, Some(key?))
            }
            Kind::Provider(_) => (None, None),
        };
        let (sender, reloads) = mpsc::unbounded_channel();
        let credentials = Credentials::new(key, origin, Some(sender));
        let renewal = Renewal {
            credentials: Arc::clone(&credentials),
            kind,
            check_every,
            seen,
            reloads,
            failing: Episode::default(),
            failure_logged: false,
        };
        Ok(Self { credentials, renewal: Some(renewal) })
    }
}

impl<K: Key> Renewal<K> {
    /// Runs until the task is aborted. While there is no usable key it renews without a request, after a pause that doubles
    /// up to `longest_pause`.
    pub async fn run(mut self, longest_pause: Duration) {
        let credentials = Arc::clone(&self.credentials);
        let (mut retry_at, mut attempts) = (credentials.is_unusable().then(Instant::now), 0);
        let mut every = interval_at(Instant::now() + self.check_every, self.check_every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            // Whichever it is, the key is read once for all that wait. So none can starve another.
            tokio::select! {
                biased;
                Some(reload) = self.reloads.recv() => waiting.push(reload),
                () = credentials.renewal_requested() => {}
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {}
                _ = every.tick(), if matches!(self.kind, Kind::File(_)) => if !self.has_changed().await { continue },
            }
            while let Ok(reload) = self.reloads.try_recv() {
                waiting.push(reload);
            }
            let result = self.renew().await;
            retry_at = None;
            if credentials.is_unusable() {
                retry_at = Instant::now().checked_add(pause(attempts, longest_pause));
                attempts = attempts.saturating_add(1);
            } else {
                attempts = 0;
            }
            for reload in waiting {
                // Fails if the caller no longer waits.
                let _ = reload.send(result.clone());
            }
        }
    }

    /// Whether the file has changed since the last read.
    async fn has_changed(&self) -> bool {
        let Kind::File(file) = &self.kind else { return false };
        let file = file.clone();
        detached_thread::run(move || file.stamp()).await.is_some_and(|stamp| stamp != self.seen)
    }

    /// Reads the source and uses its key. Returns whether another key is in use now.
    async fn renew(&mut self) -> Result<bool, CredentialsError> {
        let read = self.kind.read(&mut self.seen).await;
        let key = read.inspect_err(|error| self.log_failure(error))?;
        let replaced = self.credentials.replace(key);
        let failed = std::mem::take(&mut self.failure_logged);
        let name = K::NAME;
        foreign::log(|| match replaced {
            Replacement::Changed => tracing::info!(target: target::CREDENTIALS, "{name} changed"),
            Replacement::First => tracing::info!(target: target::CREDENTIALS, "the provider gave a {name}"),
            Replacement::Unchanged if failed => {
                tracing::info!(target: target::CREDENTIALS, "the {name} can be read again")
            }
            Replacement::Unchanged => {}
        });
        Ok(replaced != Replacement::Unchanged)
    }

    fn log_failure(&mut self, error: &CredentialsError) {
        let (name, is_missing) = (K::NAME, self.credentials.current().is_none());
        if is_missing {
            self.credentials.mark_missing();
        }
        if self.failing.begins(Instant::now().into_std()) {
            self.failure_logged = true;
            foreign::log(|| {
                if is_missing {
                    tracing::warn!(target: target::CREDENTIALS, "no {name} yet: {error}");
                } else {
                    tracing::warn!(
                        target: target::CREDENTIALS,
                        "the {name} in use stays, another cannot be had: {error}"
                    );
                }
            });
        }
    }
}

/// Returns 1 s, doubled with each attempt.
fn pause(attempts: u32, longest: Duration) -> Duration {
    Duration::from_secs(1).saturating_mul(1 << attempts.min(31)).min(longest)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::sync::Mutex;

    use super::*;
    use crate::credentials::ProjectToken;

    fn renewal(source: CredentialSource) -> Renewal<ProjectToken> {
        Opened::open(source).unwrap().renewal.unwrap()
    }

    fn in_use(renewal: &Renewal<ProjectToken>) -> String {
        renewal.credentials.current().unwrap().expose().to_owned()
    }

    /// The test replaces the lookup, because changing the environment of a multi-threaded process is unsound.
    #[tokio::test]
    async fn an_environment_is_read_on_demand() {
        static VALUE: Mutex<Option<&str>> = Mutex::new(Some("phc_one"));
        let lookup = |_: &str| VALUE.lock().unwrap().map(OsString::from);
        let mut renewal = renewal(Kind::Environment { variable: "POSTHOG_API_KEY", lookup }.into());
        assert_eq!(in_use(&renewal), "phc_one");
        *VALUE.lock().unwrap() = Some("phc_two");
        assert!(renewal.renew().await.unwrap());
        assert!(!renewal.renew().await.unwrap());
        for (value, problem) in [(Some(" "), "is empty"), (None, "is not set")] {
            *VALUE.lock().unwrap() = value;
            let error = renewal.renew().await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("POSTHOG_API_KEY {problem}")), "{error}");
        }
        assert_eq!(in_use(&renewal), "phc_two");
    }

    #[tokio::test]
    async fn a_file_is_not_read_while_its_metadata_are_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "phc_one").unwrap();
        let mut renewal = renewal(CredentialSource::file(&path));
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "phc_two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert!(!renewal.has_changed().await);
        assert!(renewal.renew().await.unwrap());
        fs::write(&path, "phc_three").unwrap();
        assert!(renewal.has_changed().await);
        assert!(renewal.renew().await.unwrap() && !renewal.has_changed().await);
        assert_eq!(in_use(&renewal), "phc_three");
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let seconds = |attempts| pause(attempts, Duration::from_secs(60)).as_secs();
        assert_eq!([0, 1, 5, 6, 40].map(seconds), [1, 2, 32, 60, 60]);
        assert_eq!(pause(0, Duration::from_millis(20)), Duration::from_millis(20));
    }
}
