use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, Span};

use crate::ConfigError;
use crate::config::{Enrichment, Settings};
use crate::credentials::{Credentials, Opened, ProjectToken, SecretKey};
use crate::delivery::{Encoder, Queue, Spool, Worker};
use crate::flags::{Definitions, DefinitionsEndpoint, Endpoint, FlagsParts, FlagsRoad, Kept};
use crate::health::Probe;
use crate::layers::{
    CircuitBreaker, CircuitBreakerLayer, DeliveryLayers, RateLimitLayer, RetryLayer, delivery_stack,
};
use crate::monitor::{Monitor, Sources, Surface, Watch};
use crate::outcome::DeliveryClassifier;
use crate::sdk::{Road, Sdk};
use crate::transport::{Capture, client};

/// What runs in a client that is not disabled.
pub(super) struct Running {
    pub(super) monitor: Arc<Monitor>,
    pub(super) flags: Arc<FlagsRoad>,
    watching_abort: AbortHandle,
    /// Taken when it has ended.
    watching: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub(super) breaker: CircuitBreaker,
    /// Taken at shutdown: it holds connections.
    probe: Mutex<Option<Arc<Probe>>>,
    pub(super) abort: AbortHandle,
    pub(super) credentials: Arc<Credentials<ProjectToken>>,
    /// Of local evaluation.
    pub(super) secret_keys: Option<Arc<Credentials<SecretKey>>>,
    /// Of the token and of the secret key; taken at shutdown.
    pub(super) renewing: Mutex<Vec<JoinHandle<()>>>,
    /// Locked while a shutdown waits for it; taken when it has ended.
    worker: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    spool: Option<Spool>,
    pub(super) sdk: Sdk,
    /// Names the client in each of its log lines.
    pub(super) span: Span,
}

impl Running {
    pub(super) fn start(
        queue: &Arc<Queue>,
        mut settings: Settings,
        host: &Url,
        opened: Opened<ProjectToken>,
        enrichment: Enrichment,
    ) -> Result<Self, ConfigError> {
        let runtime = Handle::try_current().map_err(|_| {
            ConfigError::new(
                "build()",
                "was called outside a tokio runtime",
                "call it in async code (#[tokio::main]), or while a runtime's enter() guard is held",
            )
        })?;
        let http = client(host).map_err(|error| {
            ConfigError::new(
                "TLS",
                format!("cannot be set up ({error})"),
                "check the system's CA certificates",
            )
        })?;
        let Settings { gzip, longest_retry_after, probe_timeout, probe_cache, .. } = settings;
        let Opened { credentials, renewal } = opened;
        let local_evaluation = settings.sdk.local_evaluation.take();
        let local_evaluation = local_evaluation
            .map(|local| Ok((Opened::<SecretKey>::open(local.secret_key)?, local.poll_interval)))
            .transpose()?;
        let token_of_the_sdk = credentials.current().unwrap_or_else(ProjectToken::stand_in);
        let span = tracing::info_span!("posthog", host = host.host_str());
        let Enrichment { hooks, is_server, geoip } = enrichment;
        let road = Road {
            queue,
            span: &span,
            http: &http,
            host,
            token: &token_of_the_sdk,
            local_evaluation: local_evaluation
                .as_ref()
                .and_then(|(opened, poll_interval)| Some((opened.credentials.current()?, *poll_interval))),
            is_server,
            geoip,
            request_timeout: settings.request_timeout,
            events: settings.limits.events,
        };
        let sdk = Sdk::new(&settings.sdk, &road)?;
        let probe = Probe::new(http.clone(), host, Arc::clone(&credentials), probe_timeout, probe_cache);
        let circuit_breaker = CircuitBreakerLayer::new(settings.circuit_breaker, DeliveryClassifier)?;
        let breaker = circuit_breaker.handle();
        let setback = settings.retry.setback();
        let flags_breaker = CircuitBreakerLayer::new(settings.flags.breaker(), DeliveryClassifier)?;
        let retry = RetryLayer::new(settings.retry, DeliveryClassifier)?;
        let rate_limit = RateLimitLayer::new(settings.rate_limit, DeliveryClassifier)?;
        let sources = Sources {
            queue: Arc::clone(queue),
            breakers: [breaker.clone(), flags_breaker.handle()],
            limiter: rate_limit.handle(),
            retries: retry.handle(),
        };
        let monitor = Arc::new(Monitor::new(settings.alerts, settings.rollout, sources));
        let watch_flags = Watch::new(Arc::clone(&monitor), Surface::Flags);
        let flags = Endpoint::new(http.clone(), host, Arc::clone(&credentials), longest_retry_after);
        let (definitions, secret_keys, renewal_of_secret_key) = match local_evaluation {
            Some((Opened { credentials: keys, renewal }, poll_interval)) => {
                let tokens = Arc::clone(&credentials);
                let endpoint = DefinitionsEndpoint::new(http.clone(), host, tokens, longest_retry_after);
                let watch = watch_flags.clone();
                let keys_in_use = Arc::clone(&keys);
                let definitions =
                    Definitions::new(endpoint, watch, keys_in_use, poll_interval, settings.request_timeout);
                (Some(definitions), Some(keys), renewal)
            }
            None => (None, None, None),
        };
        let parts = FlagsParts {
            breaker: flags_breaker,
            watch: watch_flags,
            endpoint: flags,
            definitions,
            kept: settings.spool.as_ref().map(|spool| Kept::beside(spool, host, &settings.flags)),
            geoip,
        };
        let flags = FlagsRoad::new(&settings.flags, parts);
        let flags = Arc::new(flags);
        let layers = DeliveryLayers {
            retry,
            circuit_breaker,
            rate_limit,
            observer: Watch::new(Arc::clone(&monitor), Surface::Capture),
            timeout: settings.request_timeout,
        };
        let stack = delivery_stack(
            layers,
            Capture::new(http, host, Arc::clone(&credentials), gzip, longest_retry_after),
        );
        let watches_breaker = breaker.subscribe();
        let watching = Arc::clone(&monitor).run(credentials.refusals());
        let longest_pause = settings.pacing.refusal_pause;
        let worker = Worker::new(
            Arc::clone(queue),
            stack,
            settings.pacing,
            setback,
            Arc::clone(&credentials),
            watches_breaker,
        );
        span.in_scope(|| flags.keep());
        let spool = settings.spool.map(|spool| span.in_scope(|| Spool::start(queue, spool)));
        let watching = runtime.spawn(watching.instrument(span.clone()));
        let renew_token =
            renewal.map(|renewal| runtime.spawn(renewal.run(longest_pause).instrument(span.clone())));
        let renew_secret_key = renewal_of_secret_key
            .map(|renewal| runtime.spawn(renewal.run(longest_pause).instrument(span.clone())));
        let renewing = renew_token.into_iter().chain(renew_secret_key).collect();
        let worker = worker.run(move || Encoder::new(hooks, is_server, geoip)).instrument(span.clone());
        let worker = runtime.spawn(worker);
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

    pub(super) fn probe(&self) -> Option<Arc<Probe>> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets no probe begin. Gives the one that was under way.
    pub(super) fn end_probe(&self) -> Option<JoinHandle<()>> {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).take();
        probe.and_then(|probe| probe.end())
    }

    /// Ends the monitor, for good.
    pub(super) fn end_monitor(&self) {
        self.watching_abort.abort();
        self.span.in_scope(|| self.monitor.end());
    }

    /// Waits for its task.
    pub(super) async fn monitor_ended(&self) {
        // As with the worker: a hook that blocks its thread may hold this task up too.
        let _ = timeout(ABORT_GRACE, async {
            if let Some(watching) = self.watching.lock().await.take() {
                let _ = watching.await;
            }
        })
        .await;
    }

    /// Lets the worker drain until the deadline (`None`: as long as it takes), then ends it.
    pub(super) async fn stop(&self, deadline: Option<Instant>) {
        let drained = async {
            if let Some(task) = self.worker.lock().await.as_mut()
                && !task.is_finished()
            {
                let _ = task.await;
            }
        };
        let in_time = match deadline {
            Some(deadline) => timeout_at(deadline, drained).await.is_ok(),
            None => {
                drained.await;
                true
            }
        };
        if !in_time {
            self.abort.abort();
        }
        // An aborted worker ends at its next await; should a hook of the user's block it, it is left behind.
        let _ = timeout(ABORT_GRACE, async {
            if let Some(task) = self.worker.lock().await.take()
                && !task.is_finished()
            {
                let _ = task.await;
            }
        })
        .await;
        let mut flags = self.flags.end();
        let others = self.end_probe().into_iter().chain(self.end_renewal());
        let _ = timeout(ABORT_GRACE, async {
            for task in others {
                let _ = task.await;
            }
            while flags.join_next().await.is_some() {}
        })
        .await;
    }
}

impl Running {
    /// The part of a shutdown's time that belongs to the last write to disk.
    pub(super) fn last_write(&self, deadline: Duration) -> Duration {
        self.spool.as_ref().map_or(Duration::ZERO, |_| LAST_WRITE.min(deadline / 4))
    }

    /// Waits for the last write to disk, until the deadline (`None`: as long as it takes). Then a disk that
    /// hangs is left behind with its thread.
    pub(super) async fn stop_spool(&self, deadline: Option<Instant>) {
        let Some(spool) = &self.spool else { return };
        let written =
            async { tokio::join!(spool.ended(), self.flags.keep_last().instrument(self.span.clone())) };
        match deadline {
            Some(deadline) => {
                let _ = timeout_at(deadline, written).await;
            }
            None => _ = written.await,
        }
    }
}

/// Several `fsync`s on a slow disk.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// How long the worker may take to notice that it was aborted.
const ABORT_GRACE: Duration = Duration::from_millis(250);
