use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::UNIX_EPOCH;

use fastrand::Rng;
use uuid::{Builder, Uuid};

use crate::rt::{clock, millis, simulated};

/// Version 7, as the SDK's events have: the time, and 74 random bits.
pub fn fresh_uuid() -> Uuid {
    let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let random = simulated::current().map_or_else(random, |simulation| simulation.bits());
    let [bits @ .., _, _, _, _, _, _] = random.to_ne_bytes();
    Builder::from_unix_timestamp_millis(millis(since), &bits).into_uuid()
}

fn random() -> u128 {
    let random = RANDOM.try_with(|random| random.borrow_mut().u128(..));
    random.unwrap_or_else(|_| seeded().u128(..))
}

/// By what the operating system gave the standard library's maps: no other has its numbers.
fn seeded() -> Rng {
    Rng::with_seed(RandomState::new().build_hasher().finish())
}

thread_local! {
    /// Of our own: whoever seeds fastrand's would get the same uuids again.
    static RANDOM: RefCell<Rng> = RefCell::new(seeded());
}
