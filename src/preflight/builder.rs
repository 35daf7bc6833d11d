use std::fmt;
use std::future::IntoFuture;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use zeroize::Zeroizing;

use super::integration::Deployment;
use super::report::PreflightReport;
use super::status_page;
use super::target::Source;
use crate::config::PostHogBuilder;
use crate::{CredentialSource, PostHog};

/// The go-live checklist, ready to run: `.await` it. A check that lacks information is skipped and says so.
///
/// # Panics
///
/// Awaiting it panics outside a tokio runtime.
///
/// # Cancel safety
///
/// Dropping the future ends what it has started.
#[must_use = "nothing is checked until it is awaited"]
pub struct Preflight {
    source: Source,
    pub(crate) options: Options,
}

/// What only the user knows.
#[derive(Default)]
pub struct Options {
    pub secret_key: Option<CredentialSource>,
    pub needed_scopes: Vec<String>,
    pub app_host: Option<String>,
    pub secret_files: Vec<(&'static str, PathBuf)>,
    pub webhook_url: Option<String>,
    pub webhook_secret: Option<Zeroizing<String>>,
    pub docs: Option<PathBuf>,
    pub deployment: Deployment,
    pub health_url: Option<String>,
    pub status_page: Option<String>,
    pub test_event: bool,
    pub is_outside: bool,
}

impl PostHog {
    /// Runs the go-live checklist, item by item, on this client and its deployment. Await it, or name more of the
    /// deployment first:
    ///
    /// ```no_run
    /// # use posthog_health::PostHog;
    /// # async fn example(posthog: &PostHog) {
    /// let report = posthog.preflight().event_rate(200.0).docs("docs").await;
    /// println!("{report}");
    /// # }
    /// ```
    ///
    /// It ends within 15 s, whatever hangs. It sends no event and nothing that is billed. See
    /// [`preflight`](crate::preflight).
    ///
    /// # Panics
    ///
    /// Awaiting it panics outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends what it has started.
    pub fn preflight(&self) -> Preflight {
        Preflight::of(Source::Client(self.clone()))
    }
}

impl PostHogBuilder {
    /// Runs the go-live checklist before the client is built. A value that [`build`](Self::build) would refuse is a
    /// failed check with its remedy, and the other checks still run. See [`preflight`](crate::preflight), and
    /// [`PostHog::preflight`] for a running client.
    pub fn preflight(self) -> Preflight {
        Preflight::of(Source::Builder(Box::new(self)))
    }
}

impl Preflight {
    fn of(source: Source) -> Self {
        let needed_scopes = vec!["feature_flag:read".to_owned()];
        let deployment = Deployment { shutdown: Duration::from_secs(5), ..Deployment::default() };
        Self { source, options: Options { needed_scopes, deployment, ..Options::default() } }
    }

    /// Names a personal API key (`phx_…`), or where it comes from, to check its scopes and its last use. It goes only to
    /// PostHog's app host. The default is the key of [`local_evaluation`](PostHogBuilder::local_evaluation), if there is
    /// one.
    pub fn secret_key(mut self, key: impl Into<CredentialSource>) -> Self {
        self.options.secret_key = Some(key.into());
        self
    }

    /// Names the scopes that the key needs; it should have no others. The default is `feature_flag:read`, which local
    /// evaluation needs.
    pub fn needed_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.options.needed_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Names the host of PostHog's private API. The default is the region's app host, and for your own PostHog the same
    /// host.
    pub fn app_host(mut self, url: impl Into<String>) -> Self {
        self.options.app_host = Some(url.into());
        self
    }

    /// Adds a file that holds a secret, to check its permissions; `name` is its name in the report. The files of the
    /// project token and of the secret key are checked in any case.
    pub fn secret_file(mut self, name: &'static str, path: impl Into<PathBuf>) -> Self {
        self.options.secret_files.push((name, path.into()));
        self
    }

    /// Names the address at which PostHog calls you. It is resolved and connected to, but no request is sent.
    pub fn webhook_url(mut self, url: impl Into<String>) -> Self {
        self.options.webhook_url = Some(url.into());
        self
    }

    /// Names the secret that PostHog signs webhooks with (`whsec_…`). Only its shape is checked.
    pub fn webhook_secret(mut self, secret: impl Into<String>) -> Self {
        self.options.webhook_secret = Some(Zeroizing::new(secret.into()));
        self
    }

    /// Names the directory of `runbook.md`, `key-rotation.md`, `rollback.md` and `escalation.md`.
    pub fn docs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options.docs = Some(directory.into());
        self
    }

    /// Names the events per second on a busy day, to judge the size of the queue.
    pub fn event_rate(mut self, per_second: f64) -> Self {
        self.options.deployment.event_rate = Some(per_second);
        self
    }

    /// Names the service's own health route, to ask it.
    pub fn health_url(mut self, url: impl Into<String>) -> Self {
        self.options.health_url = Some(url.into());
        self
    }

    /// Names the time from the orchestrator's signal to its kill: `terminationGracePeriodSeconds`, less the time spent
    /// before the signal.
    pub fn grace_period(mut self, period: Duration) -> Self {
        self.options.deployment.grace_period = Some(period);
        self
    }

    /// Names the deadline that the service passes to [`PostHog::shutdown`]. The default is 5 s.
    pub fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.options.deployment.shutdown = deadline;
        self
    }

    /// Asks PostHog's status page too. Its answer is advice, which never fails the checklist. The default is no, because it
    /// is another host.
    pub fn status_page(self) -> Self {
        self.status_page_at(status_page::URL)
    }

    /// As [`status_page`](Self::status_page), at another address: a mirror or a stand-in.
    pub fn status_page_at(mut self, url: impl Into<String>) -> Self {
        self.options.status_page = Some(url.into());
        self
    }

    /// Sends one event, `posthog_health_preflight`, which is billed as any other. The default is no.
    pub fn send_test_event(mut self) -> Self {
        self.options.test_event = true;
        self
    }

    /// Declares that this process is not the service, as in the command `posthog-preflight`. Checks that only the service
    /// can make are skipped, and settings are reported as the defaults.
    pub fn from_outside(mut self) -> Self {
        self.options.is_outside = true;
        self
    }
}

impl IntoFuture for Preflight {
    type Output = PreflightReport;
    type IntoFuture = Pin<Box<dyn Future<Output = PreflightReport> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(super::run(self.source, self.options))
    }
}

/// Shows no value, because some are secrets.
impl fmt::Debug for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preflight").finish_non_exhaustive()
    }
}
