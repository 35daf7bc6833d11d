use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::answer::FlagsAnswer;
use super::snapshot::Evaluated;

/// What was last answered to each question.
#[derive(Debug)]
pub(super) struct LastKnownGood {
    answers: Cache<Arc<str>, Arc<Known>>,
    age: Duration,
}

/// Flags, and when each was evaluated.
type Known = BTreeMap<String, (Evaluated, Instant)>;

impl LastKnownGood {
    pub(super) fn new(persons: usize, age: Duration) -> Self {
        Self { answers: Cache::new(persons), age }
    }

    /// The age up to which something stands in.
    pub(super) fn age(&self) -> Duration {
        self.age
    }

    /// Remembers an answer. A partial one says nothing about the flags that are missing in it.
    pub(super) fn learn(&self, question: &Arc<str>, answer: &FlagsAnswer, now: Instant) {
        if answer.over_quota {
            return;
        }
        let fresh = answer.flags.iter().map(|(key, flag)| (key.clone(), (flag.clone(), now)));
        let known = if answer.is_partial {
            let before = self.answers.get(question).unwrap_or_default();
            before.iter().map(|(key, known)| (key.clone(), known.clone())).chain(fresh).collect()
        } else {
            fresh.collect()
        };
        self.answers.insert(Arc::clone(question), Arc::new(known));
    }

    /// What is known and not too old, with its age.
    pub(super) fn recall(&self, question: &str, now: Instant) -> BTreeMap<String, (Evaluated, Duration)> {
        let Some(known) = self.answers.get(question) else { return BTreeMap::new() };
        let aged = known.iter().map(|(key, (flag, at))| (key, flag, now.saturating_duration_since(*at)));
        aged.filter(|(_, _, age)| *age <= self.age)
            .map(|(key, flag, age)| (key.clone(), (flag.clone(), age)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[&str], is_partial: bool) -> FlagsAnswer {
        let flags = keys.iter().map(|key| ((*key).to_owned(), Evaluated::default())).collect();
        FlagsAnswer { flags, is_partial, ..FlagsAnswer::default() }
    }

    #[test]
    fn a_whole_answer_replaces_and_a_part_adds() {
        let known = LastKnownGood::new(10, Duration::from_secs(100));
        let (question, now) = (Arc::from("kim"), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let keys = |seconds| known.recall("kim", at(seconds)).into_keys().collect::<Vec<_>>();
        known.learn(&question, &answer(&["a", "b"], false), now);
        known.learn(&question, &answer(&["b", "c"], true), at(50));
        assert_eq!(keys(50), ["a", "b", "c"]);
        assert_eq!(keys(101), ["b", "c"], "each by its own age");
        known.learn(&question, &answer(&["d"], false), at(101));
        assert_eq!(keys(101), ["d"]);
        known.learn(&question, &FlagsAnswer { over_quota: true, ..FlagsAnswer::default() }, at(101));
        assert_eq!(keys(101), ["d"], "who is over quota was told nothing");
        assert_eq!(known.recall("lee", at(101)).len(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let known = LastKnownGood::new(10, Duration::from_secs(100));
        for n in 0..1_000 {
            known.learn(&Arc::from(n.to_string()), &answer(&["a"], false), Instant::now());
        }
        assert!(known.answers.len() <= 10);
    }
}
