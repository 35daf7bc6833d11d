use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use quick_cache::sync::Cache;

/// Which flags were reported as called, so that each person's value of a flag is one event, as with the SDK. Bounded:
/// what was forgotten is reported again.
#[derive(Debug)]
pub(super) struct Reported(Cache<u64, ()>);

/// 50,000 values of flags; a few megabytes.
const REMEMBERED: usize = 50_000;

impl Default for Reported {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Reported {
    /// Whether this is the first time, as far as is remembered.
    pub(super) fn is_news(
        &self,
        distinct_id: &str,
        groups: &BTreeMap<String, String>,
        key: &str,
        response: &serde_json::Value,
    ) -> bool {
        let mut hasher = DefaultHasher::new();
        (distinct_id, groups, key, response.to_string()).hash(&mut hasher);
        let called = hasher.finish();
        let is_news = self.0.get(&called).is_none();
        self.0.insert(called, ());
        is_news
    }
}
