use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use posthog_rs::{Client, ClientOptions};
use tokio::sync::{Mutex, watch};

/// A client of the SDK whose life we manage: it starts when it is first asked for, and ends on a thread of its own.
///
/// The SDK's `shutdown` joins its worker thread, and its `Drop` waits for that thread. Neither may happen on an async
/// thread or within somebody's deadline. Its poller of flag definitions ends only with the client. So users get the
/// client in an `Arc`, and our clone of it is dropped on that thread.
pub struct ManagedClient {
    phase: watch::Sender<Phase>,
    /// Whether the start waits for PostHog's first flag definitions.
    has_slow_start: bool,
    /// Admits one slow start at a time.
    starting: Mutex<()>,
}

enum Phase {
    Open(Box<Open>),
    Ending,
    Ended,
}

struct Open {
    options: Arc<MakeOptions>,
    client: Option<Arc<Client>>,
}

/// Makes the options of one client. To be called on a thread that may wait and has no runtime.
pub type MakeOptions = dyn Fn() -> Option<ClientOptions> + Send + Sync;

impl ManagedClient {
    pub fn new(options: Arc<MakeOptions>) -> Self {
        let open = Open { options, client: None };
        Self {
            phase: watch::Sender::new(Phase::Open(Box::new(open))),
            has_slow_start: false,
            starting: Mutex::new(()),
        }
    }

    /// A client whose start waits for PostHog.
    pub fn with_slow_start(options: Arc<MakeOptions>) -> Self {
        Self { has_slow_start: true, ..Self::new(options) }
    }

    pub fn options(&self) -> Option<ClientOptions> {
        let options = match &*self.phase.borrow() {
            Phase::Open(open) => Arc::clone(&open.options),
            Phase::Ending | Phase::Ended => return None,
        };
        on_a_thread(&*options)
    }

    /// Returns the client and starts it if necessary. `None` after the end, which does not wait for a start.
    pub async fn client(&self) -> Option<Arc<Client>> {
        if !self.has_slow_start {
            return self.client_now();
        }
        let _one_at_a_time = self.starting.lock().await;
        if let Some(client) = self.running() {
            return Some(client);
        }
        let options = self.options()?;
        let ended = async {
            let _ = self.phase.subscribe().wait_for(|phase| !matches!(phase, Phase::Open(_))).await;
        };
        let client = tokio::select! {
            client = posthog_rs::client(options) => Arc::new(client),
            () = ended => return None,
        };
        let mut kept = Some(client);
        self.phase.send_if_modified(|phase| {
            if let Phase::Open(open) = phase {
                open.client.clone_from(&kept);
            } else if let Some(late) = kept.take() {
                // It ended while this start was in flight.
                shut_down_on_thread(late, || ());
            }
            false
        });
        kept
    }

    /// The same without waiting, for a client without local evaluation, whose start awaits nothing.
    pub fn client_now(&self) -> Option<Arc<Client>> {
        let mut found = None;
        self.phase.send_if_modified(|phase| {
            if let Phase::Open(open) = phase {
                if open.client.is_none() {
                    let start = || poll_once(posthog_rs::client((open.options)()?));
                    open.client = on_a_thread(start).map(Arc::new);
                }
                found.clone_from(&open.client);
            }
            false
        });
        found
    }

    /// Resolves when the events that the client has so far went through its hook.
    pub async fn drain(&self) {
        if let Some(client) = self.running() {
            client.flush().await;
        }
    }

    /// Ends the client, in the background, for good.
    pub fn end(self: &Arc<Self>) {
        let mut running = None;
        self.phase.send_if_modified(|phase| {
            let Phase::Open(open) = phase else { return false };
            running = open.client.take();
            *phase = if running.is_some() { Phase::Ending } else { Phase::Ended };
            true
        });
        if let Some(client) = running {
            let managed = Arc::clone(self);
            shut_down_on_thread(client, move || {
                managed.phase.send_replace(Phase::Ended);
            });
        }
    }

    /// Resolves when the client has ended.
    pub async fn ended(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Ended)).await;
    }

    fn running(&self) -> Option<Arc<Client>> {
        match &*self.phase.borrow() {
            Phase::Open(open) => open.client.clone(),
            Phase::Ending | Phase::Ended => None,
        }
    }
}

/// Ends a client's worker thread and drops the client, on a thread that may wait for it.
///
/// If the system has no thread left, it happens on this one, when the closure is dropped. That takes moments, because the
/// worker only has to pass its events through our hook.
fn shut_down_on_thread(client: Arc<Client>, then: impl FnOnce() + Send + 'static) {
    struct Then<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Then<F> {
        fn drop(&mut self) {
            if let Some(then) = self.0.take() {
                then();
            }
        }
    }
    let then = Then(Some(then));
    let end = move || {
        let _last = then;
        // A user may hold a clone, so dropping ours may end nothing.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
            runtime.block_on(client.shutdown());
        }
        drop(client);
    };
    let _ = thread::Builder::new().name("posthog-sdk-end".into()).spawn(end);
}

/// Runs work that takes moments on a thread without a runtime, and waits for it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Option<T> + Send) -> Option<T> {
    thread::scope(|scope| {
        let worker =
            thread::Builder::new().name("posthog-sdk-start".into()).spawn_scoped(scope, work).ok()?;
        worker.join().ok()?
    })
}

/// Polls a future once. `None` if it would have to wait.
pub fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
