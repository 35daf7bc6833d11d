use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{BoxError, Service};

use super::validator::Validator;

/// Passes only authentic webhooks to the inner service; see the [module](super).
///
/// It accepts requests with any body, and passes them on with a [`Full`] body of the verified bytes. The inner service's
/// answers are returned unchanged. Their body type must be `From<Bytes>`, as axum's and [`Full`] are, because the refusals
/// have the same type.
///
/// # Cancel safety
///
/// A request whose future is dropped, or whose handler panics, does not count as handled: the next attempt reaches the
/// inner service.
#[derive(Clone)]
pub struct WebhookService<S> {
    pub(crate) service: S,
    pub(crate) validator: Arc<Validator>,
}

impl<S, B, R> Service<Request<B>> for WebhookService<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: From<Bytes> + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let next = self.service.clone();
        let ready = mem::replace(&mut self.service, next);
        Box::pin(answer(Arc::clone(&self.validator), ready, request))
    }
}

async fn answer<S, B, R>(
    validator: Arc<Validator>,
    mut service: S,
    request: Request<B>,
) -> Result<Response<R>, S::Error>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>>,
    B: Body,
    B::Error: Into<BoxError>,
    R: From<Bytes>,
{
    let (request, in_flight) = match validator.admit(request).await {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return Ok(Response::new(Bytes::new().into())),
        Err(error) => return Ok(validator.refuse(&error)),
    };
    let response = service.call(request).await?;
    if let Some(in_flight) = in_flight.filter(|_| response.status().is_success()) {
        validator.handled(in_flight);
    }
    Ok(response)
}

impl<S: fmt::Debug> fmt::Debug for WebhookService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookService").field("service", &self.service).finish_non_exhaustive()
    }
}
