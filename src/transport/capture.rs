use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::Url;
use tower::{Service, service_fn};

use super::gzip::Compressors;
use super::http::{LONGEST_ANSWER, endpoint, post};
use super::wire::Batch;
use crate::credentials::{Credentials, ProjectToken};
use crate::outcome::Accepted;
use crate::{Error, ErrorKind};

/// `POST {host}/batch/`.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    client: reqwest::Client,
    url: Url,
    credentials: Arc<Credentials<ProjectToken>>,
    /// `None`: bodies are sent as they are.
    compressors: Option<Arc<Compressors>>,
    longest_retry_after: Duration,
}

impl Capture {
    pub(crate) fn new(
        client: reqwest::Client,
        host: &Url,
        credentials: Arc<Credentials<ProjectToken>>,
        gzip: bool,
        longest_retry_after: Duration,
    ) -> Self {
        let url = endpoint(host, "/batch/", gzip.then_some("compression=gzip"));
        let compressors = gzip.then(Arc::default);
        Self { client, url, credentials, compressors, longest_retry_after }
    }

    /// One attempt a call.
    pub(crate) fn service(
        self,
    ) -> impl Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static {
        service_fn(move |batch| self.clone().send(batch))
    }

    pub(crate) async fn send(self, batch: Batch) -> Result<Accepted, Error> {
        // Without one nothing is sent: no token is as good as a refused one.
        let token = self.credentials.current().ok_or_else(|| Error::new(ErrorKind::Unauthorized))?;
        let body = batch
            .body(&token, SystemTime::now(), self.compressors.as_deref())
            .await
            .map_err(|cause| Error::new(ErrorKind::BadRequest).with_source(cause))?;
        let gzip = self.compressors.is_some();
        let answer = post(&self.client, self.url, body, gzip, LONGEST_ANSWER).await?;
        answer.read(SystemTime::now(), self.longest_retry_after, token.expose())
    }
}
