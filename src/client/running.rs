use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use crate::credentials::{Credentials, ProjectToken, SecretKey};
use crate::delivery::Spool;
use crate::flags::FlagsClient;
use crate::health::Probe;
use crate::layers::CircuitBreakerHandle;
use crate::monitor::Monitor;
use crate::rt::within;
use crate::sdk::Sdk;

/// What runs in a client that is not disabled.
pub(super) struct Running {
    pub(super) monitor: Arc<Monitor>,
    pub(super) flags: Arc<FlagsClient>,
    pub(super) watching_abort: AbortHandle,
    /// Taken when it has ended.
    pub(super) watching: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub(super) breaker: CircuitBreakerHandle,
    /// Taken at shutdown: it holds connections.
    pub(super) probe: Mutex<Option<Arc<Probe>>>,
    pub(super) abort: AbortHandle,
    pub(super) credentials: Arc<Credentials<ProjectToken>>,
    /// Of local evaluation.
    pub(super) secret_keys: Option<Arc<Credentials<SecretKey>>>,
    /// Of the token and of the secret key; taken at shutdown.
    pub(super) renewing: Mutex<Vec<JoinHandle<()>>>,
    /// Locked while a shutdown waits for it; taken when it has ended.
    pub(super) worker: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub(super) spool: Option<Spool>,
    pub(super) sdk: Sdk,
    /// Names the client in each of its log lines.
    pub(super) span: Span,
}

impl Running {
    pub(super) fn probe(&self) -> Option<Arc<Probe>> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets no probe begin. Gives the one that was in flight.
    pub(super) fn end_probe(&self) -> JoinSet<()> {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).take();
        probe.map(|probe| probe.end()).unwrap_or_default()
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
        if !within(deadline, drained).await {
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
        let (flags, mut probe, renewal) = (self.flags.end(), self.end_probe(), self.end_renewal());
        let _ = timeout(ABORT_GRACE, async {
            for task in renewal {
                let _ = task.await;
            }
            while probe.join_next().await.is_some() {}
            flags.await;
        })
        .await;
    }

    /// The part of a shutdown's time that belongs to the last write to disk.
    pub(super) fn last_write(&self, deadline: Duration) -> Duration {
        self.spool.as_ref().map_or(Duration::ZERO, |_| LAST_WRITE.min(deadline / 4))
    }

    /// Waits for the last write to disk, until the deadline (`None`: as long as it takes). Then a disk that
    /// hangs is left behind with its thread.
    pub(super) async fn stop_spool(&self, deadline: Option<Instant>) {
        let Some(spool) = &self.spool else { return };
        within(deadline, async {
            tokio::join!(spool.ended(), self.flags.persist().instrument(self.span.clone()));
        })
        .await;
    }
}

/// Several `fsync`s on a slow disk.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// How long the worker may take to notice that it was aborted.
const ABORT_GRACE: Duration = Duration::from_millis(250);
