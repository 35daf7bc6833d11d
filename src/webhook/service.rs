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

use super::door::Door;

/// A service that gets only webhooks that are authentic; see the [module](super).
///
/// It takes requests with any body and passes them on with a [`Full`] one: the bytes that were verified. The answers of the
/// service inside go out as they are. Theirs must be a body that can be made of [`Bytes`], as axum's and [`Full`] can: it
/// answers with one itself.
///
/// # Cancel safety
///
/// A request whose future is dropped was not handled: the next attempt to deliver it reaches the service. So does one whose
/// handler panics.
#[derive(Clone)]
pub struct WebhookService<S> {
    service: S,
    door: Arc<Door>,
}

impl<S> WebhookService<S> {
    pub(super) fn new(service: S, door: Arc<Door>) -> Self {
        Self { service, door }
    }
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
        Box::pin(answer(Arc::clone(&self.door), ready, request))
    }
}

async fn answer<S, B, R>(
    door: Arc<Door>,
    mut service: S,
    request: Request<B>,
) -> Result<Response<R>, S::Error>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>>,
    B: Body,
    B::Error: Into<BoxError>,
    R: From<Bytes>,
{
    let (request, under_way) = match door.admit(request).await {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return Ok(Response::new(Bytes::new().into())),
        Err(error) => return Ok(door.refuse(&error)),
    };
    let response = service.call(request).await?;
    if let Some(under_way) = under_way.filter(|_| response.status().is_success()) {
        door.handled(under_way);
    }
    Ok(response)
}

impl<S: fmt::Debug> fmt::Debug for WebhookService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookService").field("service", &self.service).finish_non_exhaustive()
    }
}
