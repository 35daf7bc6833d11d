use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{CredentialsError, Key, KeyOrigin};

/// The key in use, and what is known of it. Whoever sends reads it for each request, so that a new one
/// holds from the next request on.
#[derive(Debug)]
pub(crate) struct Credentials<K> {
    /// `None` until a provider has given the first.
    current: watch::Sender<Option<K>>,
    /// Whether it was found unusable, with each finding about it. Capture says nothing of a token here: it takes the
    /// events of an unknown one and throws them away.
    refused: watch::Sender<bool>,
    wanted: Notify,
    #[cfg_attr(not(feature = "preflight"), allow(dead_code, reason = "only the preflight looks at it"))]
    pub(super) origin: KeyOrigin,
    /// `None` for a key that never changes.
    reloads: Option<mpsc::UnboundedSender<Reload>>,
}

/// Somebody who waits for the outcome of a renewal.
pub(super) type Reload = oneshot::Sender<Result<bool, CredentialsError>>;

impl<K: Key> Credentials<K> {
    pub(super) fn new(
        key: Option<K>,
        origin: KeyOrigin,
        reloads: Option<mpsc::UnboundedSender<Reload>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            current: watch::Sender::new(key),
            refused: watch::Sender::default(),
            wanted: Notify::new(),
            origin,
            reloads,
        })
    }

    /// A key that never changes.
    pub(crate) fn fixed(key: K) -> Arc<Self> {
        Self::new(Some(key), KeyOrigin::Literal, None)
    }

    pub(crate) fn current(&self) -> Option<K> {
        self.current.borrow().clone()
    }

    /// Tells of each new one.
    pub(crate) fn keys(&self) -> watch::Receiver<Option<K>> {
        self.current.subscribe()
    }

    /// Tells of each finding about it.
    pub(crate) fn refusals(&self) -> watch::Receiver<bool> {
        self.refused.subscribe()
    }

    /// PostHog was asked about this key. Of one that is in use no more, it says nothing.
    pub(crate) fn found(&self, key: &K, refused: bool) {
        // Held meanwhile, so that no new one comes in between.
        let current = self.current.borrow();
        if current.as_ref() == Some(key) {
            self.refused.send_replace(refused);
        }
    }

    /// Asks for a renewal and does not wait: the key was refused.
    pub(crate) fn renew(&self) {
        self.wanted.notify_one();
    }

    /// Reads the source again, from now on, and tells whether another key is in use now.
    pub(crate) async fn reload(&self) -> Result<bool, CredentialsError> {
        let Some(reloads) = &self.reloads else { return Ok(false) };
        let (reload, outcome) = oneshot::channel();
        reloads.send(reload).map_err(|_| CredentialsError::Ended)?;
        outcome.await.unwrap_or(Err(CredentialsError::Ended))
    }

    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether no request with it can succeed, as far as is known here.
    pub(super) fn is_unusable(&self) -> bool {
        self.current.borrow().is_none() || *self.refused.borrow()
    }

    /// Puts a key in the place of another; what was found of that one is forgotten. Tells which was there, if it
    /// was another.
    pub(super) fn replace(&self, key: K) -> Replaced {
        let mut replaced = Replaced::Nothing;
        self.current.send_if_modified(|current| {
            replaced = match current {
                Some(same) if *same == key => return false,
                Some(_) => Replaced::Another,
                None => Replaced::None,
            };
            *current = Some(key);
            self.refused.send_replace(false);
            true
        });
        replaced
    }

    /// There is no key, and the source has none.
    pub(super) fn missing(&self) {
        self.refused.send_replace(true);
    }
}

/// What a key has taken the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It was in use already.
    Nothing,
    /// There was none before.
    None,
    Another,
}
