use std::cell::Cell;

use bytes::{Bytes, BytesMut};

use super::parts::Parts;
use crate::rt::Timestamps;

/// What a thread keeps from one event to the next, so that writing one asks for no memory of its own.
///
/// Taken out while in use: foreign code that captures an event while one is being written finds an empty one.
#[derive(Default)]
pub struct Scratch {
    pub json: Vec<u8>,
    pub parts: Parts,
    pub timestamps: Timestamps,
    chunk: BytesMut,
    /// What this thread has captured so far.
    written: usize,
}

/// Events are cut from chunks of this size: one allocation for some 25 of them, and one that the thread that sends them
/// gives back. A chunk lives as long as the last event in it, so it is never larger than what its thread has captured: the
/// few events of a thread that lives for one job keep no more than they need.
const CHUNK: usize = 16 << 10;

/// A larger event has memory of its own.
const LARGEST_IN_CHUNK: usize = CHUNK / 4;

/// So much may be left unused at a chunk's end. An event that leaves more has memory of its own, and the chunk waits for a
/// smaller one. The queue's bound of bytes counts what is used, so what is not must be little beside it.
const MOST_UNUSED: usize = CHUNK / 16;

/// A larger buffer is not kept.
const LARGEST_KEPT: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    pub fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let result = work(&mut scratch);
        if scratch.json.capacity().max(scratch.parts.groups.capacity()) <= LARGEST_KEPT {
            let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
        }
        result
    }

    /// What is in `json`, to keep.
    pub fn finish(&mut self) -> Bytes {
        let json = self.json.as_slice();
        let left = self.chunk.capacity();
        if json.len() > LARGEST_IN_CHUNK || (json.len() > left && left > MOST_UNUSED) {
            return Bytes::copy_from_slice(json);
        }
        self.written = self.written.saturating_add(json.len());
        if left < json.len() {
            self.chunk = BytesMut::with_capacity(CHUNK.min(self.written));
        }
        self.chunk.extend_from_slice(json);
        self.chunk.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(json: &[u8]) -> Bytes {
        Scratch::with(|scratch| {
            scratch.json.clear();
            scratch.json.extend_from_slice(json);
            scratch.finish()
        })
    }

    #[test]
    fn events_come_whole_out_of_a_chunk_and_large_ones_have_their_own_memory() {
        let sizes = [0, 1, 600, LARGEST_IN_CHUNK, LARGEST_IN_CHUNK + 1, 10 * CHUNK];
        let sizes = sizes.into_iter().cycle().take(100);
        let written: Vec<_> = sizes.map(|size| (size, finish(&vec![b'x'; size]))).collect();
        for (size, event) in written {
            assert_eq!(event, vec![b'x'; size]);
        }
    }

    /// A thread that lives for one event must not keep a whole chunk in memory.
    #[test]
    fn a_chunk_is_never_larger_than_what_its_thread_has_captured() {
        let captures = || {
            for n in 1..100 {
                finish(&[b'x'; 100]);
                Scratch::with(|scratch| assert!(scratch.chunk.capacity() <= n * 100, "{n}"));
            }
        };
        std::thread::spawn(captures).join().unwrap();
    }

    #[test]
    fn what_is_captured_while_an_event_is_written_disturbs_nothing() {
        Scratch::with(|scratch| {
            scratch.json.clear();
            scratch.json.extend_from_slice(b"outer");
            assert_eq!(finish(b"inner"), "inner");
            assert_eq!(scratch.finish(), "outer");
        });
    }

    #[test]
    fn a_thread_that_ends_can_write_still() {
        struct Late(std::sync::mpsc::Sender<Bytes>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.send(finish(b"late")).unwrap();
            }
        }
        thread_local! { static LATE: Cell<Option<Late>> = const { Cell::new(None) }; }
        let (sender, late) = std::sync::mpsc::channel();
        let ends = move || {
            // Its destructor runs after the scratch's.
            LATE.set(Some(Late(sender)));
            finish(b"first");
        };
        std::thread::spawn(ends).join().unwrap();
        assert_eq!(late.recv().unwrap(), "late");
    }
}
