use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use crate::credentials::{Credentials, ProjectToken, SecretKey};
use crate::delivery::Spool;
use crate::flags::FlagsClient;
use crate::health::Probe;
use crate::layers::CircuitBreakerHandle;
use crate::monitor::Monitor;
use crate::rt::simulated::in_process;
use crate::rt::within;
use crate::sdk::Sdk;

/// The parts and the tasks of a client that is not disabled.
///
/// It lives as long as the last handle, so it does not own the `Api`, whose connections must end at shutdown.
pub struct Running {
    pub host: Url,
    /// Names the client in each of its log lines.
    pub span: Span,
    pub tokens: Arc<Credentials<ProjectToken>>,
    /// The keys of local evaluation.
    pub secret_keys: Option<Arc<Credentials<SecretKey>>>,
    /// Renew the token and the secret key.
    pub renewals: Vec<Task>,
    pub worker: Task,
    pub spool: Option<Spool>,
    pub breaker: CircuitBreakerHandle,
    pub monitor: Arc<Monitor>,
    pub monitoring: Task,
    pub probe: Probe,
    pub flags: FlagsClient,
    pub sdk: Sdk,
}

/// A task that can be aborted without waiting, and awaited by several callers.
pub struct Task {
    abort: AbortHandle,
    /// Locked while somebody waits for the task; `None` once it has ended.
    handle: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Task {
    /// Spawns a task whose log lines name the client, as the span does.
    pub fn spawn(span: &Span, task: impl Future<Output = ()> + Send + 'static) -> Self {
        let handle = tokio::spawn(in_process(task.instrument(span.clone())));
        Self { abort: handle.abort_handle(), handle: tokio::sync::Mutex::new(Some(handle)) }
    }

    pub fn abort(&self) {
        self.abort.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }

    /// Waits for the end. Dropping the future leaves the task to the next caller.
    pub async fn ended(&self) {
        let mut handle = self.handle.lock().await;
        if let Some(task) = handle.as_mut() {
            let _ = task.await;
            *handle = None;
        }
    }
}

impl Running {
    /// Ends the monitor, for good.
    pub fn end_monitor(&self) {
        self.monitoring.abort();
        self.span.in_scope(|| self.monitor.end());
    }

    /// Waits for the monitor's task.
    pub async fn monitor_ended(&self) {
        // As with the worker: a user's code that blocks its thread may hold this task up too.
        let _ = timeout(ABORT_GRACE, self.monitoring.ended()).await;
    }

    /// Lets the worker drain until the deadline (`None`: as long as it takes), then ends it and all that sends
    /// requests beside it.
    pub async fn stop(&self, deadline: Option<Instant>) {
        if !within(deadline, self.worker.ended()).await {
            self.worker.abort();
        }
        // An aborted worker ends at its next await. If a user's code blocks it, it is left behind.
        let _ = timeout(ABORT_GRACE, self.worker.ended()).await;
        let (flags, mut probe) = (self.flags.end(), self.probe.end());
        self.renewals.iter().for_each(Task::abort);
        let _ = timeout(ABORT_GRACE, async {
            for renewal in &self.renewals {
                renewal.ended().await;
            }
            while probe.join_next().await.is_some() {}
            flags.await;
        })
        .await;
    }

    /// Ends all tasks but the monitor's, without waiting.
    pub fn abort(&self) {
        self.sdk.end();
        self.worker.abort();
        self.probe.end();
        drop(self.flags.end());
        self.renewals.iter().for_each(Task::abort);
    }

    /// The part of a shutdown's time that is reserved for the last write to disk.
    pub fn last_write(&self, deadline: Duration) -> Duration {
        self.spool.as_ref().map_or(Duration::ZERO, |_| LAST_WRITE.min(deadline / 4))
    }

    /// Waits for the last write to disk, until the deadline (`None`: as long as it takes). After it, a disk that hangs
    /// is left behind with its thread.
    pub async fn stop_spool(&self, deadline: Option<Instant>) {
        let Some(spool) = &self.spool else { return };
        within(deadline, async {
            let persist = self.flags.last_known_good.persist().instrument(self.span.clone());
            // A disk that hangs is given up after a moment, and flags are on the same one.
            let _ = tokio::join!(spool.ended(), timeout(LONGEST_PERSIST, persist));
        })
        .await;
    }
}

/// Several `fsync`s on a slow disk.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// As long as a spool waits for its disk.
const LONGEST_PERSIST: Duration = Duration::from_secs(2);

/// How long the worker may take to notice that it was aborted.
const ABORT_GRACE: Duration = Duration::from_millis(250);
