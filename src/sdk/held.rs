use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use posthog_rs::{Client, ClientOptions};
use tokio::sync::{Mutex, watch};

/// A client of the SDK in our hands: started when it is first asked for, ended on a thread of its own.
///
/// The SDK's `shutdown` joins its worker thread, and its `Drop` waits for it: neither may happen on an async thread or
/// within somebody's deadline. Its poller of flag definitions ends with the client only. So it is given away in an
/// `Arc`, and ours is let go of there.
pub(super) struct Held {
    phase: watch::Sender<Phase>,
    /// Whether its start waits for PostHog, for the first flag definitions.
    waits: bool,
    /// One such start at a time.
    starting: Mutex<()>,
}

enum Phase {
    Open(Box<Open>),
    Ending,
    Ended,
}

struct Open {
    options: ClientOptions,
    client: Option<Arc<Client>>,
}

impl Held {
    pub(super) fn new(options: ClientOptions) -> Self {
        let open = Open { options, client: None };
        Self {
            phase: watch::Sender::new(Phase::Open(Box::new(open))),
            waits: false,
            starting: Mutex::new(()),
        }
    }

    /// One whose start waits for PostHog.
    pub(super) fn waiting(options: ClientOptions) -> Self {
        Self { waits: true, ..Self::new(options) }
    }

    pub(super) fn options(&self) -> Option<ClientOptions> {
        match &*self.phase.borrow() {
            Phase::Open(open) => Some(open.options.clone()),
            Phase::Ending | Phase::Ended => None,
        }
    }

    /// The client, started if need be. `None` after the end, which does not wait for a start.
    pub(super) async fn client(&self) -> Option<Arc<Client>> {
        if !self.waits {
            return self.now();
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
                drop_elsewhere(late, || ());
            }
            false
        });
        kept
    }

    /// The client, started if need be, without waiting: the start of one without local evaluation awaits nothing.
    pub(super) fn now(&self) -> Option<Arc<Client>> {
        let mut found = None;
        self.phase.send_if_modified(|phase| {
            if let Phase::Open(open) = phase {
                if open.client.is_none() {
                    open.client = now(posthog_rs::client(open.options.clone())).map(Arc::new);
                }
                found.clone_from(&open.client);
            }
            false
        });
        found
    }

    /// Resolves when what the client has got so far went through its hook.
    pub(super) async fn drain(&self) {
        if let Some(client) = self.running() {
            client.flush().await;
        }
    }

    /// Ends the client, in the background, for good.
    pub(super) fn end(self: &Arc<Self>) {
        let mut running = None;
        self.phase.send_if_modified(|phase| {
            let Phase::Open(open) = phase else { return false };
            running = open.client.take();
            *phase = if running.is_some() { Phase::Ending } else { Phase::Ended };
            true
        });
        if let Some(client) = running {
            let held = Arc::clone(self);
            drop_elsewhere(client, move || {
                held.phase.send_replace(Phase::Ended);
            });
        }
    }

    /// Resolves when the client has ended.
    pub(super) async fn ended(&self) {
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

/// Ends a client's worker thread and lets go of the client, on a thread that may wait for it.
///
/// Should the system give none, it happens here, when the closure is dropped: the worker has only our hook to pass what
/// it was given.
fn drop_elsewhere(client: Arc<Client>, then: impl FnOnce() + Send + 'static) {
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
        // Others may hold the client too, so that to drop it ends nothing.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
            runtime.block_on(client.shutdown());
        }
        drop(client);
    };
    let _ = thread::Builder::new().name("posthog-sdk-end".into()).spawn(end);
}

/// What a future gives at once. `None` if it waits.
pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
