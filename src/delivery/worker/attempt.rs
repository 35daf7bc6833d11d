//! One attempt below the layers. Its batch is chosen when it begins, and the [`Dispatcher`] learns its end.

use std::sync::Arc;

use tokio::time::Instant;
use tower::{Service, ServiceExt, service_fn};

use super::dispatcher::{Dispatcher, Lane};
use super::suspects::{Part, Record};
use crate::api::{Batch, BatchId, EventVerdict, PostHogClassifier, Receipt};
use crate::credentials::ProjectToken;
use crate::layers::{Classify, Replay, Verdict};
use crate::rt::metrics;
use crate::{Error, ErrorKind};

/// The request of the delivery stack: room for one batch.
///
/// The retry layer replays the slot and not the batch. A batch that failed steps aside, so the next attempt carries the
/// batch that is then next.
pub struct Slot(Option<Attempt>);

impl Slot {
    pub fn of(attempt: Attempt) -> Self {
        Self(Some(attempt))
    }
}

impl Replay for Slot {
    fn replay(&self) -> Option<Self> {
        Some(Self(None))
    }
}

/// A batch on its way to PostHog. An attempt that is dropped before its end has timed out.
pub struct Attempt {
    dispatcher: Arc<Dispatcher>,
    part: Option<Part>,
    lane: Lane,
    /// `None` until the request begins.
    request: Option<Request>,
}

/// The facts by which a result is judged.
pub struct Request {
    pub began: Instant,
    pub token: Option<ProjectToken>,
    /// Of the batch that it carries.
    pub id: BatchId,
}

impl Attempt {
    pub fn new(dispatcher: Arc<Dispatcher>, part: Part, lane: Lane) -> Self {
        Self { dispatcher, part: Some(part), lane, request: None }
    }

    /// Whether it leaves its place to another one.
    fn gives_way(&self) -> bool {
        self.part.as_ref().is_some_and(|part| self.dispatcher.gives_way(part, self.lane))
    }

    fn begin(mut self) -> Self {
        let record = self.part.as_ref().and_then(|part| part.record.as_ref());
        let id = record.map_or_else(BatchId::new, Record::next_id);
        self.request = Some(Request { began: Instant::now(), token: self.dispatcher.token(), id });
        self
    }

    fn batch(&self) -> Batch {
        let id = self.request.as_ref().map_or_else(BatchId::new, |request| request.id);
        let Some(Part { events, record }) = &self.part else { return Batch::new(std::iter::empty(), id) };
        // Once, and not for each attempt.
        if record.is_none() {
            metrics::batch(events.len(), events.iter().map(|event| event.json.len()).sum());
        }
        let was_unanswered = events.iter().all(|event| event.unanswered);
        Batch { was_unanswered, ..Batch::new(events.iter().map(|event| event.json.clone()), id) }
    }

    fn end(&mut self, result: Result<&Receipt, &Error>) {
        let Some(part) = self.part.take() else { return };
        match self.request.take() {
            Some(request) => self.dispatcher.ended(part, self.lane, request, result),
            None => self.dispatcher.abandoned(part, self.lane),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(Err(&Error::new(ErrorKind::Timeout)));
    }
}

/// A service that makes attempts, with whatever layers around it.
pub trait SlotService:
    Service<Slot, Response = Option<Receipt>, Error = Error, Future: Send> + Clone + Send + 'static
{
}

impl<S> SlotService for S where
    S: Service<Slot, Response = Option<Receipt>, Error = Error, Future: Send> + Clone + Send + 'static
{
}

/// Makes a service of slots of a service of batches. It answers `None` if there is nothing to send.
pub fn attempts<S>(dispatcher: Arc<Dispatcher>, service: S) -> impl SlotService
where
    S: Service<Batch, Response = Receipt, Error = Error, Future: Send> + Clone + Send + 'static,
{
    service_fn(move |slot: Slot| {
        let attempt = slot.0.filter(|attempt| !attempt.gives_way());
        let attempt = attempt.or_else(|| dispatcher.choose(Lane::Live)).map(Attempt::begin);
        let service = service.clone();
        async move {
            let Some(mut attempt) = attempt else { return Ok(None) };
            let result = service.oneshot(attempt.batch()).await;
            attempt.end(result.as_ref());
            result.map(Some)
        }
    })
}

/// Classifies attempts for the layers. An attempt without a batch counts for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttemptClassifier;

impl Classify<Option<Receipt>, Error> for AttemptClassifier {
    fn classify(&self, result: Result<&Option<Receipt>, &Error>) -> Verdict {
        match result {
            Ok(None) => Verdict::NotAttempted,
            // PostHog took some events and asks for time before it gets the others again.
            Ok(Some(Receipt { retry_after: retry_after @ Some(_), verdicts: Some(verdicts), .. }))
                if verdicts.iter().any(|(_, verdict)| *verdict == EventVerdict::Retry) =>
            {
                Verdict::Throttled { retry_after: *retry_after }
            }
            Ok(Some(receipt)) => PostHogClassifier.classify(Ok(receipt)),
            Err(error) => PostHogClassifier.classify(Err::<&Receipt, _>(error)),
        }
    }
}
