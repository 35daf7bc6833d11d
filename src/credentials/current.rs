use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{CredentialsError, ProjectToken};

/// The project token in use, and what is known of it. Whoever sends reads it for each request, so that a new one
/// holds from the next request on.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// `None` until a provider has given the first.
    current: watch::Sender<Option<ProjectToken>>,
    /// Whether it was found unusable otherwise than by capture, with each finding about it: capture alone does not
    /// notice, it takes the events of an unknown token and throws them away.
    refused: watch::Sender<bool>,
    wanted: Notify,
    /// `None` for a token that never changes.
    reloads: Option<mpsc::UnboundedSender<Reload>>,
}

/// Somebody who waits for the outcome of a renewal.
pub(super) type Reload = oneshot::Sender<Result<bool, CredentialsError>>;

impl Credentials {
    pub(super) fn new(
        token: Option<ProjectToken>,
        reloads: Option<mpsc::UnboundedSender<Reload>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            current: watch::Sender::new(token),
            refused: watch::Sender::default(),
            wanted: Notify::new(),
            reloads,
        })
    }

    pub(crate) fn current(&self) -> Option<ProjectToken> {
        self.current.borrow().clone()
    }

    /// Tells of each new token.
    pub(crate) fn tokens(&self) -> watch::Receiver<Option<ProjectToken>> {
        self.current.subscribe()
    }

    /// Tells of each finding about the token.
    pub(crate) fn refusals(&self) -> watch::Receiver<bool> {
        self.refused.subscribe()
    }

    /// PostHog was asked about this token. Of one that is in use no more, it says nothing.
    pub(crate) fn found(&self, token: &ProjectToken, refused: bool) {
        // Held meanwhile, so that no new token comes in between.
        let current = self.current.borrow();
        if current.as_ref() == Some(token) {
            self.refused.send_replace(refused);
        }
    }

    /// Asks for a renewal and does not wait: the token was refused.
    pub(crate) fn renew(&self) {
        self.wanted.notify_one();
    }

    /// Reads the source again, from now on, and tells whether another token is in use now.
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

    /// Puts a token in the place of another; what was found of that one is forgotten. Tells which was there, if it
    /// was another.
    pub(super) fn replace(&self, token: ProjectToken) -> Replaced {
        let mut replaced = Replaced::Nothing;
        self.current.send_if_modified(|current| {
            replaced = match current {
                Some(same) if *same == token => return false,
                Some(_) => Replaced::Another,
                None => Replaced::None,
            };
            *current = Some(token);
            self.refused.send_replace(false);
            true
        });
        replaced
    }

    /// There is no token, and the source has none.
    pub(super) fn missing(&self) {
        self.refused.send_replace(true);
    }
}

/// What a token has taken the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It was in use already.
    Nothing,
    /// There was none before.
    None,
    Another,
}
