use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::rt::lock;

/// Compressors that are reused from one body to the next. A new one costs as much as a hundred events, because it clears a
/// quarter of a megabyte. There are as many as bodies were compressed at the same time.
#[derive(Debug, Default)]
pub struct Compressors(Mutex<Vec<Compress>>);

impl Compressors {
    /// Compresses a body and yields to the runtime's other tasks in between. `end` makes the last few bytes of the body, after
    /// the last time that it yields. What is left then is one open block, a fraction of a millisecond; a flush before `end`
    /// would spare that, and cost a tenth of the compression. All is in one gzip member, because PostHog reads no second one.
    ///
    /// # Cancel safety
    ///
    /// A compressor whose body is abandoned is dropped.
    pub async fn gzip(&self, body: &[u8], end: impl FnOnce() -> String) -> io::Result<Bytes> {
        let mut compressor = self.take();
        let mut gzip = Vec::with_capacity(SMALLEST.max(body.len() / TYPICAL_RATIO));
        for slice in body.chunks(SLICE) {
            let mut rest = slice;
            while !rest.is_empty() {
                rest = &rest[step(&mut compressor, rest, &mut gzip, FlushCompress::None)?.0..];
            }
            if slice.len() == SLICE {
                tokio::task::yield_now().await;
            }
        }
        let end = end();
        let mut rest = end.as_bytes();
        loop {
            let (taken, status) = step(&mut compressor, rest, &mut gzip, FlushCompress::Finish)?;
            if status == Status::StreamEnd {
                break;
            }
            rest = &rest[taken..];
        }
        compressor.reset();
        lock(&self.0).push(compressor);
        Ok(gzip.into())
    }

    fn take(&self) -> Compress {
        let kept = lock(&self.0).pop();
        kept.unwrap_or_else(|| Compress::new_gzip(LEVEL, LARGEST_WINDOW))
    }
}

/// Consumes some of the input and returns how much that was. It always makes room for output.
fn step(
    compressor: &mut Compress,
    input: &[u8],
    gzip: &mut Vec<u8>,
    flush: FlushCompress,
) -> io::Result<(usize, Status)> {
    if gzip.capacity() - gzip.len() < SMALLEST {
        gzip.reserve(gzip.capacity());
    }
    let before = compressor.total_in();
    let status = compressor.compress_vec(input, gzip, flush)?;
    let taken = usize::try_from(compressor.total_in() - before).unwrap_or(input.len());
    Ok((taken, status))
}

/// Takes half the time of level 6, which is zlib's default, and makes batches of events up to a tenth larger.
const LEVEL: Compression = Compression::new(2);

/// 32 KiB, as gzip defines.
const LARGEST_WINDOW: u8 = 15;

/// Batches of events shrink to less than a quarter.
const TYPICAL_RATIO: usize = 4;

/// Room for a header, a trailer and then some.
const SMALLEST: usize = 256;

/// Compressing this much takes about 100 microseconds. Then the runtime's other tasks get a turn.
const SLICE: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_kept_compressor_gives_back_each_body_whole(
            bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2_000), 0usize..200), 1..6),
            end in ".{0,300}",
        ) {
            let compressors = Compressors::default();
            for (bytes, times) in bodies {
                let mut body = bytes.repeat(times);
                let gzip = tokio_test::block_on(compressors.gzip(&body, || end.clone())).unwrap();
                body.extend_from_slice(end.as_bytes());
                let mut back = Vec::new();
                flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
                prop_assert_eq!(back, body);
                prop_assert_eq!(lock(&compressors.0).len(), 1);
            }
        }
    }

    #[test]
    fn an_abandoned_body_costs_its_compressor_and_two_at_once_have_one_each() {
        let (compressors, body) = (Compressors::default(), vec![b'x'; 2 * SLICE]);
        let mut abandoned = tokio_test::task::spawn(compressors.gzip(&body, String::new));
        assert!(abandoned.poll().is_pending());
        drop(abandoned);
        assert_eq!(lock(&compressors.0).len(), 0);
        let mut first = Box::pin(compressors.gzip(&body, String::new));
        assert!(tokio_test::task::spawn(&mut first).poll().is_pending());
        tokio_test::block_on(compressors.gzip(&body, String::new)).unwrap();
        tokio_test::block_on(first).unwrap();
        assert_eq!(lock(&compressors.0).len(), 2);
    }
}
