//! `POST {host}/batch/`: delivers events.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tower::{Service, service_fn};

use super::{Accepted, Api, Compressors, LONGEST_ANSWER};
use crate::credentials::ProjectToken;
use crate::layers::Replay;
use crate::rt::timestamp;
use crate::{Error, ErrorKind};

impl Api {
    /// A service that makes one attempt a call.
    pub fn batch_service(
        self: Arc<Self>,
    ) -> impl Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static {
        service_fn(move |batch| {
            let api = Arc::clone(&self);
            async move { api.batch(&batch).await }
        })
    }

    /// Sends a batch.
    pub async fn batch(&self, batch: &Batch) -> Result<Accepted, Error> {
        let token = self.token()?;
        let compressors = self.compressors.as_ref();
        let body = batch
            .body(&token, SystemTime::now(), compressors)
            .await
            .map_err(|cause| Error::new(ErrorKind::BadRequest).with_source(cause))?;
        let gzip = compressors.is_some();
        let query = gzip.then_some("compression=gzip");
        let answer = self.post("/batch/", query, body, gzip, LONGEST_ANSWER).await?;
        match answer.read(SystemTime::now(), self.longest_retry_after, token.expose()) {
            Err(error) => Err(self.attribute(error, &token).await),
            accepted => accepted,
        }
    }
}

/// Encoded events of one request. Cloning copies no event.
#[derive(Clone, Debug)]
pub struct Batch(Arc<[Bytes]>);

impl Batch {
    /// The events as JSON objects.
    pub fn new(events: impl Iterator<Item = Bytes>) -> Self {
        Self(events.collect())
    }

    #[cfg(test)]
    pub fn events(&self) -> &[Bytes] {
        &self.0
    }

    /// The body of a request that is sent at `sent_at`. PostHog corrects clock skew by that time, so it must be fresh on
    /// each attempt, or the events move in time.
    async fn body(
        &self,
        token: &ProjectToken,
        sent_at: SystemTime,
        compressors: Option<&Compressors>,
    ) -> io::Result<Bytes> {
        let size = ENVELOPE_BYTES + self.0.iter().map(|event| event.len() + 1).sum::<usize>();
        let mut body = Vec::with_capacity(size);
        body.extend_from_slice(b"{\"api_key\":");
        serde_json::to_writer(&mut body, token.expose())?;
        body.extend_from_slice(b",\"historical_migration\":false,\"sent_at\":\"");
        body.extend_from_slice(timestamp(sent_at).as_bytes());
        body.extend_from_slice(b"\",\"batch\":[");
        for event in &*self.0 {
            body.extend_from_slice(event);
            body.push(b',');
        }
        body.pop_if(|last| *last == b',');
        body.extend_from_slice(b"]}");
        match compressors {
            Some(compressors) => compressors.gzip(&body).await,
            None => Ok(body.into()),
        }
    }
}

impl Replay for Batch {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Room for everything in a body except its events.
pub const ENVELOPE_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::credentials::Key;

    fn body(compressors: Option<&Compressors>) -> serde_json::Value {
        let batch = Batch::new([r#"{"event":"a"}"#, r#"{"event":"b"}"#].map(Bytes::from).into_iter());
        let token = ProjectToken::parse("phc_abc").unwrap();
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let body = tokio_test::block_on(batch.body(&token, sent_at, compressors)).unwrap();
        let mut json = Vec::new();
        if compressors.is_some() {
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut json).unwrap();
        } else {
            json = body.to_vec();
        }
        serde_json::from_slice(&json).unwrap()
    }

    #[test]
    fn the_envelope_is_what_batch_wants() {
        let expected = serde_json::json!({
            "api_key": "phc_abc",
            "historical_migration": false,
            "sent_at": "2023-11-14T22:13:20.123456Z",
            "batch": [{"event": "a"}, {"event": "b"}],
        });
        assert_eq!(body(None), expected);
        assert_eq!(body(Some(&Compressors::default())), expected);
    }
}
