use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Remembers which webhooks are being handled and which were. Clones share it.
///
/// A cache that throws out what it likes would not do: what is under way must stay, and the oldest must go first.
#[derive(Clone, Debug)]
pub(super) struct Replays {
    memory: Arc<Mutex<Memory>>,
    /// For how long after it was last seen.
    window: Duration,
    most: usize,
}

#[derive(Debug, Default)]
struct Memory {
    /// As many as the server handles requests at a time.
    under_way: HashSet<Arc<str>>,
    handled: HashMap<Arc<str>, SystemTime>,
    /// The same by the time at which they may be forgotten.
    by_time: BTreeSet<(SystemTime, Arc<str>)>,
}

/// What is known of a webhook that comes.
#[derive(Debug)]
pub(super) enum Seen {
    Never(UnderWay),
    UnderWay,
    Handled,
}

impl Replays {
    /// A webhook may be sent again until it is `tolerance` old, and may have been sent by a clock that is as much ahead: it
    /// is remembered for twice as long.
    pub(super) fn new(tolerance: Duration, most: usize) -> Self {
        Self { memory: Arc::default(), window: 2 * tolerance, most }
    }

    /// Of copies that come at once, one is the first.
    pub(super) fn begin(&self, id: &str, now: SystemTime) -> Seen {
        let mut memory = self.memory();
        memory.forget_before(now);
        if memory.handled.contains_key(id) {
            // A later attempt is valid for longer.
            memory.remember(id.into(), now + self.window);
            return Seen::Handled;
        }
        let id = Arc::from(id);
        if !memory.under_way.insert(Arc::clone(&id)) {
            return Seen::UnderWay;
        }
        Seen::Never(UnderWay { id, replays: self.clone() })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
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

/// A webhook that is being handled. Dropped, it was not handled: the next attempt is the first again.
#[derive(Debug)]
pub(super) struct UnderWay {
    id: Arc<str>,
    replays: Replays,
}

impl UnderWay {
    /// Tells whether all that should be remembered is.
    pub(super) fn handled(self, now: SystemTime) -> bool {
        let mut memory = self.replays.memory();
        memory.forget_before(now);
        memory.remember(Arc::clone(&self.id), now + self.replays.window);
        let has_room = memory.handled.len() <= self.replays.most;
        if !has_room {
            memory.forget_oldest();
        }
        has_room
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.replays.memory().under_way.remove(&self.id);
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

    fn handle(replays: &Replays, id: &str, now: SystemTime) -> bool {
        let Seen::Never(under_way) = replays.begin(id, now) else { panic!("{id} is known") };
        under_way.handled(now)
    }

    #[test]
    fn one_of_two_copies_is_the_first() {
        let replays = Replays::new(TOLERANCE, 10);
        let first = replays.begin("a", at(0));
        assert!(matches!(first, Seen::Never(_)));
        assert!(matches!(replays.begin("a", at(0)), Seen::UnderWay));
        assert!(matches!(replays.begin("b", at(0)), Seen::Never(_)), "others go on");
        drop(first);
        assert!(handle(&replays, "a", at(1)), "what was dropped was not handled");
        assert!(matches!(replays.begin("a", at(1)), Seen::Handled));
        assert!(replays.memory().under_way.is_empty());
    }

    #[test]
    fn it_is_remembered_as_long_as_a_copy_could_be_let_in() {
        let replays = Replays::new(TOLERANCE, 10);
        // From a clock that is 300 s ahead: let in until 600.
        handle(&replays, "a", at(0));
        assert!(matches!(replays.begin("a", at(600)), Seen::Handled));
        // That may have been another attempt, let in for longer.
        assert!(matches!(replays.begin("a", at(1_200)), Seen::Handled));
        assert!(matches!(replays.begin("a", at(1_801)), Seen::Never(_)));
        assert!(replays.memory().by_time.is_empty(), "and is forgotten then");
    }

    #[test]
    fn when_it_is_full_the_oldest_is_forgotten_and_it_says_so() {
        let replays = Replays::new(TOLERANCE, 2);
        assert!(handle(&replays, "a", at(0)));
        assert!(handle(&replays, "b", at(1)));
        assert!(!handle(&replays, "c", at(2)));
        assert!(matches!(replays.begin("b", at(3)), Seen::Handled));
        assert!(matches!(replays.begin("c", at(3)), Seen::Handled));
        assert!(matches!(replays.begin("a", at(3)), Seen::Never(_)));
        let none = Replays::new(TOLERANCE, 0);
        assert!(!handle(&none, "a", at(0)));
        assert!(!handle(&none, "a", at(0)));
    }

    proptest! {
        /// Whatever comes in whatever order, and wherever the clock goes.
        #[test]
        fn it_is_bounded_and_its_two_orders_agree(
            steps in prop::collection::vec((0_u8..20, 0_u64..2_000, any::<bool>()), 0..200),
        ) {
            let replays = Replays::new(TOLERANCE, 5);
            for (id, second, works) in steps {
                if let Seen::Never(under_way) = replays.begin(&id.to_string(), at(second)) && works {
                    under_way.handled(at(second));
                }
                let memory = replays.memory();
                prop_assert!(memory.handled.len() <= 5 && memory.under_way.is_empty());
                let by_time: HashMap<_, _> = memory.by_time.iter().map(|(until, id)| (id.clone(), *until)).collect();
                prop_assert_eq!(by_time.len(), memory.by_time.len());
                prop_assert_eq!(&by_time, &memory.handled);
            }
        }
    }
}
