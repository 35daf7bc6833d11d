//! Puts a client's parts together.

use std::sync::Arc;

use reqwest::Url;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::pipeline::{Pipeline, pipeline};
use super::running::{Running, Task};
use crate::ConfigError;
use crate::api::{Api, Compressors, Http, Protocols, TokenChecks};
use crate::config::Settings;
use crate::credentials::{Opened, ProjectToken};
use crate::delivery::{Producer, Queue, Spool};
use crate::error::error_chain;
use crate::flags::{FlagsClient, FlagsParts};
use crate::health::Probe;
use crate::monitor::{AttemptObserver, Surface};
use crate::rt::target;
use crate::sdk::{LocalEvaluation, Sdk, SdkParts};

/// What a client has, whether it runs or is disabled.
pub struct Start<'a> {
    pub queue: &'a Arc<Queue>,
    pub producer: &'a Arc<Producer>,
    pub settings: &'a Settings,
    pub is_server: bool,
    pub geoip: bool,
}

impl Start<'_> {
    /// Starts the parts of a client that sends.
    pub fn running(
        self,
        host: Url,
        token: Opened<ProjectToken>,
        local_evaluation: Option<LocalEvaluation>,
    ) -> Result<Running, ConfigError> {
        let Self { queue, producer, settings, is_server, geoip } = self;
        Handle::try_current().map_err(|_| no_runtime())?;
        let http = Http::new(&host, settings.request_timeout).map_err(|error| no_tls(&error))?;
        let Opened { credentials: tokens, renewal } = token;
        let (secret_keys, key_renewal) = match local_evaluation {
            Some(LocalEvaluation { secret_key, poll_interval }) => {
                let Opened { credentials, renewal } = Opened::open(secret_key)?;
                (Some((credentials, poll_interval)), renewal)
            }
            None => (None, None),
        };
        let api = Arc::new(Api {
            http,
            host: host.clone(),
            tokens: Arc::clone(&tokens),
            longest_retry_after: settings.longest_retry_after,
            compressors: settings.gzip.then(Compressors::default),
            protocols: Arc::new(Protocols::new(settings.capture_protocol, &host, Instant::now())),
            token_checks: TokenChecks::default(),
        });
        let Pipeline { monitor, worker, breaker, flags_breaker } =
            pipeline(queue, settings, &tokens, &api.protocols, Arc::clone(&api).batch_service())?;
        let keys = secret_keys.as_ref();
        let sdk = Sdk::new(&SdkParts {
            producer,
            breaker: &breaker,
            http: api.http.client(),
            host: &host,
            token: &tokens.current().unwrap_or_else(ProjectToken::stand_in),
            local_evaluation: keys.and_then(|(keys, interval)| Some((keys.current()?, *interval))),
            error_tracking: &settings.error_tracking,
            is_server,
            geoip,
            request_timeout: settings.request_timeout,
        })?;
        let parts = FlagsParts {
            api: &api,
            secret_keys: keys.map(|(keys, interval)| (keys, *interval)),
            breaker: flags_breaker,
            observer: AttemptObserver::new(Arc::clone(&monitor), Surface::Flags),
            producer,
            spool: settings.spool.as_ref(),
            request_timeout: settings.request_timeout,
            geoip,
        };
        let flags = FlagsClient::new(&settings.flags, parts);
        let probe = Probe::new(api, settings.probe_timeout, settings.probe_cache);

        // Nothing has started so far, and nothing can fail from here on. So an error leaves nothing behind.
        let span = tracing::info_span!(target: target::CLIENT, "posthog", host = host.host_str());
        span.in_scope(|| flags.last_known_good.start_persisting());
        let spool = settings.spool.clone().map(|spool| span.in_scope(|| Spool::start(queue, spool)));
        let monitoring = Task::spawn(&span, Arc::clone(&monitor).run(tokens.refusals()));
        let pause = settings.pacing.refusal_pause;
        let renewals = [
            renewal.map(|renewal| Task::spawn(&span, renewal.run(pause))),
            key_renewal.map(|renewal| Task::spawn(&span, renewal.run(pause))),
        ];
        Ok(Running {
            worker: Task::spawn(&span, worker.run()),
            renewals: renewals.into_iter().flatten().collect(),
            secret_keys: secret_keys.map(|(keys, _)| keys),
            host,
            span,
            tokens,
            spool,
            breaker,
            monitor,
            monitoring,
            probe,
            flags,
            sdk,
        })
    }
}

fn no_runtime() -> ConfigError {
    let remedy =
        "call it in async code (#[tokio::main]), on a runtime that runs as long as the client is used";
    ConfigError::new("build()", "was called outside a tokio runtime", remedy)
}

fn no_tls(error: &reqwest::Error) -> ConfigError {
    let remedy =
        "install CA certificates (the package ca-certificates), or name a file of them in SSL_CERT_FILE";
    ConfigError::new("TLS", format!("cannot be set up ({})", error_chain(error)), remedy)
}
