#![cfg_attr(not(feature = "spool"), allow(dead_code, reason = "what is only kept on disk"))]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::answer::FlagsAnswer;
use super::evaluated::Evaluated;
use super::kept::Kept;

/// What was last answered to each question.
#[derive(Debug)]
pub(super) struct LastKnownGood {
    answers: Cache<Arc<str>, Arc<Known>>,
    /// What the process before has left, if there is a place for it.
    kept: Option<Arc<Kept>>,
    age: Duration,
    /// Set after an answer is remembered, taken before answers are read: what is learned meanwhile is among those, or is
    /// news again.
    has_news: AtomicBool,
}

/// Flags, and when each was evaluated.
pub(super) type Known = BTreeMap<String, (Evaluated, Since)>;

/// A moment, possibly before this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    at: Instant,
    earlier: Duration,
}

impl Since {
    pub(super) fn before(at: Instant, earlier: Duration) -> Self {
        Self { at, earlier }
    }

    pub(super) fn age(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).saturating_add(self.earlier)
    }
}

impl LastKnownGood {
    pub(super) fn new(persons: usize, age: Duration, kept: Option<Arc<Kept>>) -> Self {
        Self { answers: Cache::new(persons), kept, age, has_news: AtomicBool::new(false) }
    }

    /// The age up to which something stands in.
    pub(super) fn age(&self) -> Duration {
        self.age
    }

    /// Where it survives this process.
    pub(super) fn kept(&self) -> Option<&Arc<Kept>> {
        self.kept.as_ref()
    }

    /// Remembers an answer. A partial one says nothing about the flags that are missing in it.
    pub(super) fn learn(&self, question: &Arc<str>, answer: &FlagsAnswer, now: Instant) {
        if answer.over_quota {
            return;
        }
        let since = Since::before(now, Duration::ZERO);
        let fresh = answer.flags.iter().map(|(key, flag)| (key.clone(), (flag.clone(), since)));
        let known = if answer.is_partial {
            let before = self.find(question).unwrap_or_default();
            before.iter().map(|(key, known)| (key.clone(), known.clone())).chain(fresh).collect()
        } else {
            fresh.collect()
        };
        self.answers.insert(Arc::clone(question), Arc::new(known));
        self.has_news.store(true, Ordering::Release);
    }

    /// What is known and not too old, with its age.
    pub(super) fn recall(&self, question: &str, now: Instant) -> BTreeMap<String, (Evaluated, Duration)> {
        let Some(known) = self.find(question) else { return BTreeMap::new() };
        let aged = known.iter().map(|(key, (flag, since))| (key, flag, since.age(now)));
        aged.filter(|(_, _, age)| *age <= self.age)
            .map(|(key, flag, age)| (key.clone(), (flag.clone(), age)))
            .collect()
    }

    /// Whether something was learned since this was last called.
    pub(super) fn take_news(&self) -> bool {
        self.has_news.swap(false, Ordering::Acquire)
    }

    /// What was learned is still to be kept.
    pub(super) fn put_news_back(&self) {
        self.has_news.store(true, Ordering::Release);
    }

    /// All that was learned and is remembered.
    pub(super) fn answers(&self) -> impl Iterator<Item = (Arc<str>, Arc<Known>)> {
        self.answers.iter()
    }

    fn find(&self, question: &str) -> Option<Arc<Known>> {
        self.answers.get(question).or_else(|| self.kept.as_ref()?.find(question))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[&str], is_partial: bool) -> FlagsAnswer {
        let flags = keys.iter().map(|key| ((*key).to_owned(), Evaluated::default())).collect();
        FlagsAnswer { flags, is_partial, ..FlagsAnswer::default() }
    }

    fn known(age: u64) -> LastKnownGood {
        LastKnownGood::new(10, Duration::from_secs(age), None)
    }

    #[test]
    fn a_whole_answer_replaces_and_a_part_adds() {
        let known = known(100);
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
        let known = known(100);
        for n in 0..1_000 {
            known.learn(&Arc::from(n.to_string()), &answer(&["a"], false), Instant::now());
        }
        assert!(known.answers.len() <= 10);
    }
}
