use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{CredentialsError, Key, KeyOrigin};

/// The key in use, and whether it is known to be refused. Senders read it for each request, so a new key takes effect
/// with the next request.
#[derive(Debug)]
pub struct Credentials<K> {
    /// `None` until a provider has returned the first key.
    current: watch::Sender<Option<K>>,
    /// Whether the key is refused; set with each finding. Findings come from probes and not from capture, because PostHog's
    /// capture endpoint accepts and discards the events of an unknown token.
    refused: watch::Sender<bool>,
    renewal_requested: Notify,
    #[cfg_attr(not(feature = "preflight"), allow(dead_code, reason = "only the preflight reads it"))]
    pub origin: KeyOrigin,
    /// `None` for a key that never changes.
    reloads: Option<mpsc::UnboundedSender<Reload>>,
}

/// The sender of a reload's outcome to its caller.
pub type Reload = oneshot::Sender<Result<bool, CredentialsError>>;

impl<K: Key> Credentials<K> {
    pub fn new(
        key: Option<K>,
        origin: KeyOrigin,
        reloads: Option<mpsc::UnboundedSender<Reload>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            current: watch::Sender::new(key),
            refused: watch::Sender::default(),
            renewal_requested: Notify::new(),
            origin,
            reloads,
        })
    }

    /// Creates a key that never changes.
    pub fn fixed(key: K) -> Arc<Self> {
        Self::new(Some(key), KeyOrigin::Literal, None)
    }

    pub fn current(&self) -> Option<K> {
        self.current.borrow().clone()
    }

    /// Subscribes to the key in use.
    pub fn keys(&self) -> watch::Receiver<Option<K>> {
        self.current.subscribe()
    }

    /// Subscribes to the findings about the key.
    pub fn refusals(&self) -> watch::Receiver<bool> {
        self.refused.subscribe()
    }

    /// Records a finding about a key. A finding about a key that was replaced meanwhile is ignored.
    pub fn found(&self, key: &K, refused: bool) {
        // The guard stays locked until the finding is recorded, so that the key cannot be replaced in between.
        let current = self.current.borrow();
        if current.as_ref() == Some(key) {
            self.refused.send_replace(refused);
        }
    }

    /// Requests a renewal because the key was refused. Does not wait for it.
    pub fn renew(&self) {
        self.renewal_requested.notify_one();
    }

    /// Reads the source again, and returns whether another key is in use now. The reading begins after the call.
    pub async fn reload(&self) -> Result<bool, CredentialsError> {
        let Some(reloads) = &self.reloads else { return Ok(false) };
        let (reload, outcome) = oneshot::channel();
        reloads.send(reload).map_err(|_| CredentialsError::Ended)?;
        outcome.await.unwrap_or(Err(CredentialsError::Ended))
    }

    pub async fn renewal_requested(&self) {
        self.renewal_requested.notified().await;
    }

    /// Whether there is no key, or it is known to be refused.
    pub fn is_unusable(&self) -> bool {
        self.current.borrow().is_none() || *self.refused.borrow()
    }

    /// Replaces the key in use, and forgets the findings about it.
    pub fn replace(&self, key: K) -> Replacement {
        let mut replaced = Replacement::Unchanged;
        self.current.send_if_modified(|current| {
            replaced = match current {
                Some(same) if *same == key => return false,
                Some(_) => Replacement::Changed,
                None => Replacement::First,
            };
            *current = Some(key);
            self.refused.send_replace(false);
            true
        });
        replaced
    }

    /// Records that the source has not returned any key yet.
    pub fn mark_missing(&self) {
        self.refused.send_replace(true);
    }
}

/// The effect of a key that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The key was in use already.
    Unchanged,
    /// There was no key before.
    First,
    /// The key replaced another one.
    Changed,
}
