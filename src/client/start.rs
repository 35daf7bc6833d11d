//! Puts a client's parts together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use super::pipeline::Pipeline;
use super::running::{Running, Task};
use crate::ConfigError;
use crate::api::{Api, Compressors, http_client};
use crate::config::Settings;
use crate::credentials::{Opened, ProjectToken, SecretKey};
use crate::delivery::{Producer, Queue, Spool};
use crate::flags::{FlagsClient, FlagsParts};
use crate::health::Probe;
use crate::monitor::{AttemptObserver, Surface};
use crate::rt::target;
use crate::sdk::{LocalEvaluation, Sdk, SdkParts};

/// What a client has, whether it runs or is disabled.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    pub queue: &'a Arc<Queue>,
    pub producer: &'a Arc<Producer>,
    pub settings: &'a Settings,
    pub is_server: bool,
    pub geoip: bool,
}

/// What several of the running parts are made from.
struct Shared<'a> {
    start: Start<'a>,
    api: Arc<Api>,
    /// Names the client in each of its log lines.
    span: Span,
}

/// The key that fetches the definitions for local evaluation.
struct LocalKey {
    opened: Opened<SecretKey>,
    poll_interval: Duration,
}

impl Start<'_> {
    /// Starts the parts of a client that sends.
    pub fn running(
        self,
        host: Url,
        token: Opened<ProjectToken>,
        local_evaluation: Option<LocalEvaluation>,
    ) -> Result<Running, ConfigError> {
        let Self { queue, settings, .. } = self;
        let runtime = Handle::try_current().map_err(|_| no_runtime())?;
        let http = http_client(&host).map_err(|error| no_tls(&error))?;
        let local = local_evaluation.map(LocalKey::open).transpose()?;
        let Opened { credentials: tokens, renewal } = token;
        let span = tracing::info_span!(target: target::CLIENT, "posthog", host = host.host_str());
        let api = Arc::new(Api {
            http,
            host: host.clone(),
            tokens: Arc::clone(&tokens),
            longest_retry_after: settings.longest_retry_after,
            compressors: settings.gzip.then(Compressors::default),
        });
        let shared = Shared { start: self, api, span };

        let sdk = shared.sdk(local.as_ref())?;
        let pipeline = Pipeline::new(queue, settings)?;
        let (monitor, breaker) = (Arc::clone(&pipeline.monitor), pipeline.breaker());
        let flags = Arc::new(shared.flags(&pipeline, local.as_ref()));
        let probe = shared.probe();
        let worker = pipeline.worker(queue, Arc::clone(&shared.api).batch_service(), &tokens);

        // Nothing has started so far, and nothing can fail from here on. So an error leaves nothing behind.
        let Shared { span, .. } = shared;
        let spawner = Spawner { runtime: &runtime, span: &span };
        span.in_scope(|| flags.start_persisting());
        let spool = settings.spool.clone().map(|spool| span.in_scope(|| Spool::start(queue, spool)));
        let monitoring = spawner.spawn(Arc::clone(&monitor).run(tokens.refusals()));
        let pause = settings.pacing.refusal_pause;
        let mut renewals: Vec<_> =
            renewal.map(|renewal| spawner.spawn(renewal.run(pause))).into_iter().collect();
        let secret_keys = local.map(|LocalKey { opened: Opened { credentials, renewal }, .. }| {
            renewals.extend(renewal.map(|renewal| spawner.spawn(renewal.run(pause))));
            credentials
        });
        let worker = spawner.spawn(worker.run());
        Ok(Running {
            host,
            span,
            tokens,
            secret_keys,
            renewals,
            worker,
            spool,
            breaker,
            monitor,
            monitoring,
            probe: Mutex::new(Some(Arc::new(probe))),
            flags,
            sdk,
        })
    }
}

impl LocalKey {
    fn open(LocalEvaluation { secret_key, poll_interval }: LocalEvaluation) -> Result<Self, ConfigError> {
        Ok(Self { opened: Opened::open(secret_key)?, poll_interval })
    }
}

impl Shared<'_> {
    fn sdk(&self, local: Option<&LocalKey>) -> Result<Sdk, ConfigError> {
        let token = self.api.tokens.current().unwrap_or_else(ProjectToken::stand_in);
        let local_evaluation =
            local.and_then(|key| Some((key.opened.credentials.current()?, key.poll_interval)));
        let parts = SdkParts {
            producer: self.start.producer,
            http: &self.api.http,
            host: &self.api.host,
            token: &token,
            local_evaluation,
            error_tracking: &self.start.settings.error_tracking,
            is_server: self.start.is_server,
            geoip: self.start.geoip,
            request_timeout: self.start.settings.request_timeout,
            events: self.start.settings.limits.events,
        };
        Sdk::new(&parts)
    }

    fn flags(&self, pipeline: &Pipeline, local: Option<&LocalKey>) -> FlagsClient {
        let parts = FlagsParts {
            api: &self.api,
            secret_keys: local.map(|key| (&key.opened.credentials, key.poll_interval)),
            breaker: pipeline.flags.clone(),
            observer: AttemptObserver::new(Arc::clone(&pipeline.monitor), Surface::Flags),
            producer: self.start.producer,
            spool: self.start.settings.spool.as_ref(),
            request_timeout: self.start.settings.request_timeout,
            geoip: self.start.geoip,
        };
        FlagsClient::new(&self.start.settings.flags, parts)
    }

    fn probe(&self) -> Probe {
        let Settings { probe_timeout, probe_cache, .. } = *self.start.settings;
        Probe::new(Arc::clone(&self.api), probe_timeout, probe_cache)
    }
}

/// Spawns tasks whose log lines name the client.
struct Spawner<'a> {
    runtime: &'a Handle,
    span: &'a Span,
}

impl Spawner<'_> {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        Task::new(self.runtime.spawn(task.instrument(self.span.clone())))
    }
}

fn no_runtime() -> ConfigError {
    let remedy = "call it in async code (#[tokio::main]), or while a runtime's enter() guard is held";
    ConfigError::new("build()", "was called outside a tokio runtime", remedy)
}

fn no_tls(error: &reqwest::Error) -> ConfigError {
    ConfigError::new("TLS", format!("cannot be set up ({error})"), "check the system's CA certificates")
}
