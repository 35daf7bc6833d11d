//! A client's parts, put together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use super::guards::Guards;
use super::running::Running;
use crate::ConfigError;
use crate::api::{Api, Compressors, client};
use crate::config::{Enrichment, Settings};
use crate::credentials::{Opened, ProjectToken, SecretKey};
use crate::delivery::{Encoder, Queue, Spool};
use crate::flags::{FlagsClient, FlagsParts};
use crate::health::Probe;
use crate::monitor::{AttemptObserver, Surface};
use crate::rt::target;
use crate::sdk::{LocalEvaluation, Road, Sdk};

/// What several parts are made of.
struct Common<'a> {
    queue: &'a Arc<Queue>,
    api: Arc<Api>,
    settings: &'a Settings,
    is_server: bool,
    geoip: bool,
    /// Names the client in each of its log lines.
    span: Span,
}

/// The key by which flags are evaluated here.
struct LocalKey {
    opened: Opened<SecretKey>,
    poll_interval: Duration,
}

impl Running {
    pub(super) fn start(
        queue: &Arc<Queue>,
        mut settings: Settings,
        host: &Url,
        token: Opened<ProjectToken>,
        enrichment: Enrichment,
    ) -> Result<Self, ConfigError> {
        let runtime = Handle::try_current().map_err(|_| no_runtime())?;
        let http = client(host).map_err(|error| no_tls(&error))?;
        let local = settings.sdk.local_evaluation.take().map(LocalKey::open).transpose()?;
        let Enrichment { hooks, is_server, geoip } = enrichment;
        let Opened { credentials, renewal } = token;
        let span = tracing::info_span!(target: target::CLIENT, "posthog", host = host.host_str());
        let api = Arc::new(Api {
            http,
            host: host.clone(),
            tokens: Arc::clone(&credentials),
            longest_retry_after: settings.longest_retry_after,
            compressors: settings.gzip.then(Compressors::default),
        });
        let common = Common { queue, api, settings: &settings, is_server, geoip, span };

        let sdk = common.sdk(local.as_ref())?;
        let guards = Guards::new(queue, &settings)?;
        let (monitor, breaker) = (Arc::clone(&guards.monitor), guards.breaker());
        let flags = Arc::new(common.flags(&guards, local.as_ref()));
        let probe = common.probe();
        let worker = guards.worker(queue, Arc::clone(&common.api).batch_service(), &credentials);

        // Nothing has begun so far; nothing fails from here on.
        let Common { span, .. } = common;
        let begin = Begin { runtime: &runtime, span: &span };
        span.in_scope(|| flags.start_persisting());
        let spool = settings.spool.clone().map(|spool| span.in_scope(|| Spool::start(queue, spool)));
        let watching = begin.task(Arc::clone(&monitor).run(credentials.refusals()));
        let pause = settings.pacing.refusal_pause;
        let mut renewing: Vec<_> =
            renewal.map(|renewal| begin.task(renewal.run(pause))).into_iter().collect();
        let secret_keys = local.map(|LocalKey { opened: Opened { credentials, renewal }, .. }| {
            renewing.extend(renewal.map(|renewal| begin.task(renewal.run(pause))));
            credentials
        });
        let worker = begin.task(worker.run(move || Encoder::new(hooks, is_server, geoip)));
        Ok(Self {
            monitor,
            flags,
            watching_abort: watching.abort_handle(),
            watching: tokio::sync::Mutex::new(Some(watching)),
            breaker,
            probe: Mutex::new(Some(Arc::new(probe))),
            abort: worker.abort_handle(),
            credentials,
            secret_keys,
            renewing: Mutex::new(renewing),
            worker: tokio::sync::Mutex::new(Some(worker)),
            spool,
            sdk,
            span,
        })
    }
}

impl LocalKey {
    fn open(LocalEvaluation { secret_key, poll_interval }: LocalEvaluation) -> Result<Self, ConfigError> {
        Ok(Self { opened: Opened::open(secret_key)?, poll_interval })
    }
}

impl Common<'_> {
    fn sdk(&self, local: Option<&LocalKey>) -> Result<Sdk, ConfigError> {
        let token = self.api.tokens.current().unwrap_or_else(ProjectToken::stand_in);
        let local_evaluation =
            local.and_then(|key| Some((key.opened.credentials.current()?, key.poll_interval)));
        let road = Road {
            queue: self.queue,
            span: &self.span,
            http: &self.api.http,
            host: &self.api.host,
            token: &token,
            local_evaluation,
            is_server: self.is_server,
            geoip: self.geoip,
            request_timeout: self.settings.request_timeout,
            events: self.settings.limits.events,
        };
        Sdk::new(&self.settings.sdk, &road)
    }

    fn flags(&self, guards: &Guards, local: Option<&LocalKey>) -> FlagsClient {
        let parts = FlagsParts {
            api: &self.api,
            secret_keys: local.map(|key| (&key.opened.credentials, key.poll_interval)),
            breaker: guards.flags.clone(),
            observer: AttemptObserver::new(Arc::clone(&guards.monitor), Surface::Flags),
            queue: self.queue,
            spool: self.settings.spool.as_ref(),
            request_timeout: self.settings.request_timeout,
            geoip: self.geoip,
        };
        FlagsClient::new(&self.settings.flags, parts)
    }

    fn probe(&self) -> Probe {
        let Settings { probe_timeout, probe_cache, .. } = *self.settings;
        Probe::new(Arc::clone(&self.api), probe_timeout, probe_cache)
    }
}

/// Begins tasks whose log lines name the client.
struct Begin<'a> {
    runtime: &'a Handle,
    span: &'a Span,
}

impl Begin<'_> {
    fn task(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task.instrument(self.span.clone()))
    }
}

fn no_runtime() -> ConfigError {
    let remedy = "call it in async code (#[tokio::main]), or while a runtime's enter() guard is held";
    ConfigError::new("build()", "was called outside a tokio runtime", remedy)
}

fn no_tls(error: &reqwest::Error) -> ConfigError {
    ConfigError::new("TLS", format!("cannot be set up ({error})"), "check the system's CA certificates")
}
