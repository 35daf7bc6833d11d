use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::answer::FlagsAnswer;
use super::cache::{AnswerCache, EvaluatedAt, KnownFlags};
use super::config::FlagsConfig;
use super::evaluated::Evaluated;
use super::persisted::Persisted;
use crate::delivery::SpoolConfig;

/// What PostHog last answered to each question: in this process, else in the one before it.
#[derive(Debug)]
pub struct LastKnownGood {
    cache: Arc<AnswerCache>,
    /// `None` without a spool to put the file beside.
    persisted: Option<Arc<Persisted>>,
    /// The age up to which a known value stands in for an answer.
    pub max_age: Duration,
}

impl LastKnownGood {
    pub fn new(config: &FlagsConfig, host: &Url, spool: Option<&SpoolConfig>) -> Self {
        let cache = Arc::new(AnswerCache::new(config.persons));
        let persisted = spool.map(|spool| Arc::new(Persisted::new(spool, host, config, &cache)));
        Self { cache, persisted, max_age: config.age }
    }

    /// Remembers an answer. A partial one says nothing about the flags that it lacks, so those stay as they were.
    pub fn learn(&self, question: &Arc<str>, answer: &FlagsAnswer, now: Instant) {
        if answer.over_quota {
            return;
        }
        let evaluated_at = EvaluatedAt::ago(Duration::ZERO, now);
        let fresh = answer.flags.iter().map(|(key, flag)| (key.clone(), (flag.clone(), evaluated_at)));
        let known = if answer.is_partial {
            let before = self.find(question).unwrap_or_default();
            before.iter().map(|(key, known)| (key.clone(), known.clone())).chain(fresh).collect()
        } else {
            fresh.collect()
        };
        self.cache.insert(Arc::clone(question), Arc::new(known));
        if let Some(persisted) = &self.persisted {
            persisted.mark_dirty();
        }
    }

    /// The flags that are known and not too old, each with its age.
    pub fn recall(&self, question: &str, now: Instant) -> BTreeMap<String, (Evaluated, Duration)> {
        let Some(known) = self.find(question) else { return BTreeMap::new() };
        let aged = known.iter().map(|(key, (flag, evaluated_at))| (key, flag, evaluated_at.age(now)));
        aged.filter(|(_, _, age)| *age <= self.max_age)
            .map(|(key, flag, age)| (key.clone(), (flag.clone(), age)))
            .collect()
    }

    fn find(&self, question: &str) -> Option<Arc<KnownFlags>> {
        self.cache.get(question).or_else(|| self.persisted.as_ref()?.find(question))
    }

    /// Starts to read the file, and then to write it now and then. Does nothing without a spool.
    pub fn start_persisting(&self) {
        if let Some(persisted) = &self.persisted {
            persisted.start();
        }
    }

    /// Waits until the file has been read, up to the deadline.
    pub async fn loaded(&self, deadline: Instant) {
        if let Some(persisted) = &self.persisted {
            persisted.loaded(deadline).await;
        }
    }

    /// Writes to the file what was learned since it was last written.
    pub async fn persist(&self) {
        if let Some(persisted) = &self.persisted {
            persisted.write().await;
        }
    }

    /// Ends what [`start_persisting`](Self::start_persisting) started. Returns the aborted task.
    pub fn end(&self) -> Option<JoinHandle<()>> {
        self.persisted.as_ref()?.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[&str], is_partial: bool) -> FlagsAnswer {
        let flags = keys.iter().map(|key| ((*key).to_owned(), Evaluated::default())).collect();
        FlagsAnswer { flags, is_partial, ..FlagsAnswer::default() }
    }

    fn last_known_good(max_age: u64) -> LastKnownGood {
        let config = FlagsConfig::default().last_known_good(10, Duration::from_secs(max_age));
        LastKnownGood::new(&config, &Url::parse("https://us.i.posthog.com").unwrap(), None)
    }

    #[test]
    fn a_whole_answer_replaces_and_a_part_adds() {
        let known = last_known_good(100);
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
        assert_eq!(keys(101), ["d"], "an answer over quota says nothing");
        assert_eq!(known.recall("lee", at(101)).len(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let known = last_known_good(100);
        for n in 0..1_000 {
            known.learn(&Arc::from(n.to_string()), &answer(&["a"], false), Instant::now());
        }
        assert!(known.cache.len() <= 10);
    }
}
