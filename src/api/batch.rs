//! A batch of events, and its way to PostHog: by capture V0 or V1, as [`Protocols`](super::protocol::Protocols) chooses.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use tower::{Service, service_fn};
use uuid::Uuid;

use super::capture_v1::Refusal;
use super::event_json::is_ai;
use super::protocol::{TRIAL, Turn};
use super::{Api, Receipt};
use crate::Error;
use crate::credentials::ProjectToken;
use crate::layers::Replay;
use crate::rt::clock;

impl Api {
    /// A service that makes one attempt a call.
    pub fn batch_service(
        self: Arc<Self>,
    ) -> impl Service<Batch, Response = Receipt, Error = Error, Future: Send> + Clone + Send + 'static {
        service_fn(move |batch| {
            let api = Arc::clone(&self);
            async move { api.batch(&batch).await }
        })
    }

    /// Sends a batch. Where V1 turns out not to work, the batch goes by V0 at once, and nothing is blamed for it.
    pub async fn batch(&self, batch: &Batch) -> Result<Receipt, Error> {
        let token = self.token()?;
        self.check_refused_token(&token).await?;
        let may_take_v1 = self.protocols.may_speak_v1() && !batch.has_ai();
        let turn =
            if may_take_v1 { self.protocols.turn(batch.events.len(), Instant::now()) } else { Turn::V0 };
        let reason = match turn {
            Turn::V0 => return self.capture_v0(batch, &token).await,
            Turn::V1 { or_v0 } => match self.capture_v1(batch, &token).await {
                Ok(receipt) => return Ok(receipt),
                Err(Refusal::NotV1(reason, _)) if or_v0 => Some(reason),
                Err(Refusal::NotV1(_, error) | Refusal::Failed(error)) => return Err(error),
            },
            Turn::Trial => match timeout(TRIAL, self.capture_v1(batch, &token)).await {
                Ok(Ok(receipt)) => {
                    self.protocols.works();
                    return Ok(receipt);
                }
                Ok(Err(Refusal::NotV1(reason, _))) => Some(reason),
                // A hint holds for V0 as well.
                Ok(Err(Refusal::Failed(error))) if error.retry_after().is_some() => return Err(error),
                Ok(Err(Refusal::Failed(_))) | Err(_) => None,
            },
        };
        let result = self.capture_v0(batch, &token).await;
        // Where V0 fares no better, the failure says nothing about V1.
        if let (Some(reason), Ok(_)) = (reason, &result) {
            self.protocols.fell_back(reason, Instant::now());
        }
        result
    }

    /// Sends a batch by V0. An AI event that is too large for `/batch/` has an endpoint of its own, which older hosts do
    /// not know.
    async fn capture_v0(&self, batch: &Batch, token: &ProjectToken) -> Result<Receipt, Error> {
        if batch.is_large_ai() {
            let result = self.post_v0("/i/v0/ai/batch/", batch, token).await;
            if !result.as_ref().is_err_and(|error| error.kind() == crate::ErrorKind::WrongHost) {
                return result;
            }
        }
        self.post_v0("/batch/", batch, token).await
    }
}

/// Encoded events of one request. Cloning copies no event.
#[derive(Clone, Debug)]
pub struct Batch {
    pub events: Arc<[Bytes]>,
    pub id: BatchId,
    /// Whether an answer has passed over all of these events before.
    pub was_unanswered: bool,
}

/// What stays the same in all requests with a batch, as long as it has the same events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId {
    pub request_id: Uuid,
    pub created_at: SystemTime,
    /// From 1.
    pub attempt: u32,
}

impl BatchId {
    /// One for a batch that was not sent before.
    pub fn new() -> Self {
        Self { request_id: Uuid::now_v7(), created_at: clock::wall(), attempt: 1 }
    }

    /// The same batch, sent again.
    pub fn again(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }
}

impl Batch {
    /// The events as JSON objects.
    pub fn new(events: impl Iterator<Item = Bytes>, id: BatchId) -> Self {
        Self { events: events.collect(), id, was_unanswered: false }
    }

    fn has_ai(&self) -> bool {
        self.events.iter().any(|event| is_ai(event))
    }

    fn is_large_ai(&self) -> bool {
        matches!(&*self.events, [event] if is_large_ai(event))
    }
}

/// Whether an AI event is too large for `/batch/`, which refuses the whole batch for one of more than 983,040 bytes.
pub fn is_large_ai(event: &[u8]) -> bool {
    event.len() > 900_000 && is_ai(event)
}

impl Replay for Batch {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}
