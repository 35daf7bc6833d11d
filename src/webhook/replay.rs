use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Remembers the ids of the webhooks that are being handled and of those that were. Clones share the ids.
///
/// An ordinary cache, which evicts by its own choice, does not fit: ids in flight must stay, and the oldest must go first.
#[derive(Clone, Debug)]
pub struct ReplayCache {
    ids: Arc<Mutex<Ids>>,
    /// How long an id is remembered after it was last seen.
    window: Duration,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Ids {
    /// Bounded by the server's concurrent requests.
    in_flight: HashSet<Arc<str>>,
    handled: HashMap<Arc<str>, SystemTime>,
    /// The same ids, ordered by the time at which they expire.
    by_time: BTreeSet<(SystemTime, Arc<str>)>,
}

/// What is known of an incoming webhook.
#[derive(Debug)]
pub enum Seen {
    /// Neither in flight nor handled. It is in flight as long as the guard lives.
    Never(InFlight),
    InFlight,
    Handled,
}

impl ReplayCache {
    /// Remembers ids for twice the tolerance: a copy is accepted until it is `tolerance` old, and the sender's clock may be
    /// as much ahead.
    pub fn new(tolerance: Duration, capacity: usize) -> Self {
        Self { ids: Arc::default(), window: 2 * tolerance, capacity }
    }

    /// Begins to handle a webhook. Of concurrent copies, exactly one gets [`Seen::Never`].
    pub fn begin(&self, id: &str, now: SystemTime) -> Seen {
        let mut ids = self.ids();
        ids.forget_before(now);
        if ids.handled.contains_key(id) {
            // Each attempt has its own time, so a later one stays acceptable for longer.
            ids.remember(id.into(), now + self.window);
            return Seen::Handled;
        }
        let id = Arc::from(id);
        if !ids.in_flight.insert(Arc::clone(&id)) {
            return Seen::InFlight;
        }
        Seen::Never(InFlight { id, replays: self.clone() })
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ids {
    fn remember(&mut self, id: Arc<str>, until: SystemTime) {
        if let Some(before) = self.handled.insert(Arc::clone(&id), until) {
            self.by_time.remove(&(before, Arc::clone(&id)));
        }
        self.by_time.insert((until, id));
    }

    fn forget_before(&mut self, now: SystemTime) {
        while self.by_time.first().is_some_and(|(until, _)| *until < now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.by_time.pop_first() {
            self.handled.remove(&id);
        }
    }
}

/// A webhook that is being handled. If the guard is dropped, the webhook was not handled, and the next attempt counts as
/// the first.
#[derive(Debug)]
pub struct InFlight {
    id: Arc<str>,
    replays: ReplayCache,
}

impl InFlight {
    /// Remembers the webhook as handled. Returns false if an older one had to be forgotten for it.
    pub fn handled(self, now: SystemTime) -> bool {
        let mut ids = self.replays.ids();
        ids.forget_before(now);
        ids.remember(Arc::clone(&self.id), now + self.replays.window);
        let has_room = ids.handled.len() <= self.replays.capacity;
        if !has_room {
            ids.forget_oldest();
        }
        has_room
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.replays.ids().in_flight.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn handle(replays: &ReplayCache, id: &str, now: SystemTime) -> bool {
        let Seen::Never(in_flight) = replays.begin(id, now) else { panic!("{id} is known") };
        in_flight.handled(now)
    }

    #[test]
    fn one_of_two_copies_is_the_first() {
        let replays = ReplayCache::new(TOLERANCE, 10);
        let first = replays.begin("a", at(0));
        assert!(matches!(first, Seen::Never(_)));
        assert!(matches!(replays.begin("a", at(0)), Seen::InFlight));
        assert!(matches!(replays.begin("b", at(0)), Seen::Never(_)), "others go on");
        drop(first);
        assert!(handle(&replays, "a", at(1)), "what was dropped was not handled");
        assert!(matches!(replays.begin("a", at(1)), Seen::Handled));
        assert!(replays.ids().in_flight.is_empty());
    }

    #[test]
    fn it_is_remembered_as_long_as_a_copy_could_be_let_in() {
        let replays = ReplayCache::new(TOLERANCE, 10);
        // Sent by a clock that is 300 s ahead, it is accepted until 600.
        handle(&replays, "a", at(0));
        assert!(matches!(replays.begin("a", at(600)), Seen::Handled));
        // That may have been another attempt, which is accepted for longer.
        assert!(matches!(replays.begin("a", at(1_200)), Seen::Handled));
        assert!(matches!(replays.begin("a", at(1_801)), Seen::Never(_)));
        assert!(replays.ids().by_time.is_empty(), "and is forgotten then");
    }

    #[test]
    fn when_it_is_full_the_oldest_is_forgotten_and_it_says_so() {
        let replays = ReplayCache::new(TOLERANCE, 2);
        assert!(handle(&replays, "a", at(0)));
        assert!(handle(&replays, "b", at(1)));
        assert!(!handle(&replays, "c", at(2)));
        assert!(matches!(replays.begin("b", at(3)), Seen::Handled));
        assert!(matches!(replays.begin("c", at(3)), Seen::Handled));
        assert!(matches!(replays.begin("a", at(3)), Seen::Never(_)));
        let none = ReplayCache::new(TOLERANCE, 0);
        assert!(!handle(&none, "a", at(0)));
        assert!(!handle(&none, "a", at(0)));
    }

    proptest! {
        /// Ids arrive in any order, and the clock may jump.
        #[test]
        fn it_is_bounded_and_its_two_orders_agree(
            steps in prop::collection::vec((0_u8..20, 0_u64..2_000, any::<bool>()), 0..200),
        ) {
            let replays = ReplayCache::new(TOLERANCE, 5);
            for (id, second, works) in steps {
                if let Seen::Never(in_flight) = replays.begin(&id.to_string(), at(second)) && works {
                    in_flight.handled(at(second));
                }
                let ids = replays.ids();
                prop_assert!(ids.handled.len() <= 5 && ids.in_flight.is_empty());
                let by_time: HashMap<_, _> = ids.by_time.iter().map(|(until, id)| (id.clone(), *until)).collect();
                prop_assert_eq!(by_time.len(), ids.by_time.len());
                prop_assert_eq!(&by_time, &ids.handled);
            }
        }
    }
}
