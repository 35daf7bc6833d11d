use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::credentials::ProjectToken;
use crate::layers::Replay;

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
        gzip: bool,
    ) -> io::Result<Bytes> {
        let size = ENVELOPE_BYTES + self.0.iter().map(|event| event.len() + 1).sum::<usize>();
        if gzip {
            let mut body = GzEncoder::new(Vec::with_capacity(size / 4), Compression::default());
            self.write(&mut body, token, sent_at).await?;
            return body.finish().map(Bytes::from);
        }
        let mut body = Vec::with_capacity(size);
        self.write(&mut body, token, sent_at).await?;
        Ok(body.into())
    }

    async fn write(
        &self,
        body: &mut impl Write,
        token: &ProjectToken,
        sent_at: SystemTime,
    ) -> io::Result<()> {
        body.write_all(b"{\"api_key\":")?;
        serde_json::to_writer(&mut *body, token.expose())?;
        body.write_all(b",\"historical_migration\":false,\"sent_at\":\"")?;
        body.write_all(timestamp(sent_at).as_bytes())?;
        body.write_all(b"\",\"batch\":[")?;
        let mut since_yield = 0;
        for (index, event) in self.0.iter().enumerate() {
            if index > 0 {
                body.write_all(b",")?;
            }
            for slice in event.chunks(SLICE) {
                body.write_all(slice)?;
                since_yield += slice.len();
                if since_yield >= SLICE {
                    since_yield = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        body.write_all(b"]}")
    }
}

impl Replay for Batch {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Room for all that a body has beside its events.
pub(crate) const ENVELOPE_BYTES: usize = 200;

/// Compressing takes a few hundred microseconds for this much; then the runtime's other tasks get a turn.
const SLICE: usize = 16 * 1024;

/// RFC 3339 in UTC. A clock before 1970 reads as 1970, one after 9999 as an empty text: neither panics.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let mut text = String::with_capacity(32);
    let at = humantime::format_rfc3339_micros(at.max(SystemTime::UNIX_EPOCH));
    if write!(text, "{at}").is_err() {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::credentials::Key;

    fn body(gzip: bool) -> serde_json::Value {
        let batch = Batch::new([r#"{"event":"a"}"#, r#"{"event":"b"}"#].map(Bytes::from).into_iter());
        let token = ProjectToken::parse("phc_abc").unwrap();
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let body = tokio_test::block_on(batch.body(&token, sent_at, gzip)).unwrap();
        let mut json = Vec::new();
        if gzip {
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
        assert_eq!(body(false), expected);
        assert_eq!(body(true), expected);
    }

    #[test]
    fn a_broken_clock_does_not_panic() {
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000)), "");
    }
}
