//! Capture V0: `POST {host}/batch/`. The answer speaks of the batch as a whole.

use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, HeaderValue};

use super::{Api, Batch, Compressors, LONGEST_ANSWER, Receipt};
use crate::credentials::ProjectToken;
use crate::rt::{clock, timestamp};
use crate::{Error, ErrorKind};

impl Api {
    /// Sends a batch to an endpoint of V0's.
    pub async fn post_v0(&self, path: &str, batch: &Batch, token: &ProjectToken) -> Result<Receipt, Error> {
        let compressors = self.compressors.as_ref();
        let request = || async {
            let body = batch.body_v0(token, clock::wall, compressors).await;
            let body = body.map_err(|cause| Error::new(ErrorKind::BadRequest).with_source(cause))?;
            let query = compressors.map(|_| "compression=gzip");
            let mut request = self.post_request(path, query, body);
            if compressors.is_some() {
                request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Ok(request)
        };
        let answer = self.http.send(request, LONGEST_ANSWER).await?;
        match answer.read(clock::wall(), self.longest_retry_after, token.expose()) {
            Err(error) => Err(self.attribute(error, token).await),
            Ok(accepted) => Ok(accepted.into()),
        }
    }
}

impl Batch {
    /// The body of a request that is about to be sent. PostHog takes the time from `sent_at` to the arrival for clock skew
    /// and moves the events by it. So the time is read for each attempt, and when all else is done: compressing a megabyte
    /// can take a tenth of a second, as the runtime's other tasks get their turns meanwhile.
    async fn body_v0(
        &self,
        token: &ProjectToken,
        now: impl FnOnce() -> SystemTime + Send,
        compressors: Option<&Compressors>,
    ) -> io::Result<Bytes> {
        let size = ENVELOPE_BYTES + self.events.iter().map(|event| event.len() + 1).sum::<usize>();
        let mut body = Vec::with_capacity(size);
        body.extend_from_slice(b"{\"api_key\":");
        serde_json::to_writer(&mut body, token.expose())?;
        body.extend_from_slice(b",\"historical_migration\":false,\"batch\":[");
        for event in &*self.events {
            body.extend_from_slice(event);
            body.push(b',');
        }
        body.pop_if(|last| *last == b',');
        let end = || format!("],\"sent_at\":\"{}\"}}", timestamp(now()));
        match compressors {
            Some(compressors) => compressors.gzip(&body, end).await,
            None => {
                body.extend_from_slice(end().as_bytes());
                Ok(body.into())
            }
        }
    }
}

/// Room for everything in a body except its events.
pub const ENVELOPE_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::api::BatchId;
    use crate::credentials::Key;

    fn two_events() -> (Batch, ProjectToken) {
        let batch =
            Batch::new([r#"{"event":"a"}"#, r#"{"event":"b"}"#].map(Bytes::from).into_iter(), BatchId::new());
        (batch, ProjectToken::parse("phc_abc").unwrap())
    }

    fn sent_at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456)
    }

    /// PostHog's server reads the first member of a gzip file.
    fn first_member(gzip: &[u8]) -> String {
        let mut text = String::new();
        let mut decoder = flate2::bufread::GzDecoder::new(gzip);
        decoder.read_to_string(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty(), "another member");
        text
    }

    #[test]
    fn the_envelope_is_what_batch_wants() {
        let expected = concat!(
            r#"{"api_key":"phc_abc","historical_migration":false,"batch":[{"event":"a"},{"event":"b"}],"#,
            r#""sent_at":"2023-11-14T22:13:20.123456Z"}"#,
        );
        let ((batch, token), compressors) = (two_events(), Compressors::default());
        let body = |compressors| tokio_test::block_on(batch.body_v0(&token, sent_at, compressors)).unwrap();
        assert_eq!(body(None), expected);
        assert_eq!(first_member(&body(Some(&compressors))), expected);
        assert!(expected.len() - r#"{"event":"a"},{"event":"b"}"#.len() < ENVELOPE_BYTES);
    }

    /// The other tasks of the runtime get no turn after it.
    #[test]
    fn the_time_is_read_when_the_events_are_compressed() {
        let incompressible = (0..100_000).map(|_| fastrand::alphanumeric()).collect::<String>();
        let event = serde_json::json!({ "event": incompressible }).to_string();
        let batch = Batch::new(std::iter::once(event.into()), BatchId::new());
        let (token, compressors) = (ProjectToken::parse("phc_abc").unwrap(), Compressors::default());
        let is_read = std::sync::atomic::AtomicBool::new(false);
        let now = || {
            is_read.store(true, std::sync::atomic::Ordering::Relaxed);
            sent_at()
        };
        let mut body = tokio_test::task::spawn(batch.body_v0(&token, now, Some(&compressors)));
        let gzip = loop {
            assert!(!is_read.load(std::sync::atomic::Ordering::Relaxed), "read before the end");
            if let std::task::Poll::Ready(gzip) = body.poll() {
                break gzip.unwrap();
            }
        };
        assert!(first_member(&gzip).ends_with(r#""sent_at":"2023-11-14T22:13:20.123456Z"}"#));
    }
}
