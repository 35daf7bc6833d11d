use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::credentials::ProjectToken;
use crate::layers::Replay;
use crate::transport::{Compressors, timestamp};

/// Encoded events on their way. Cloning copies no event.
#[derive(Clone, Debug)]
pub(crate) struct Batch(Arc<[Bytes]>);

impl Batch {
    pub(crate) fn new(events: impl Iterator<Item = Bytes>) -> Self {
        Self(events.collect())
    }

    #[cfg(test)]
    pub(crate) fn events(&self) -> &[Bytes] {
        &self.0
    }

    /// The body of `POST /batch/`, as of `sent_at`: PostHog corrects clock skew by it, so it must be fresh
    /// on each attempt or the events move in time.
    pub(crate) async fn body(
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

/// Room for all that a body has beside its events.
pub(crate) const ENVELOPE_BYTES: usize = 200;

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
