use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use posthog_rs::{FlagCache, FlagValue, LocalEvaluationResponse, LocalEvaluator};
use serde::Deserialize;
use serde_json::Value;

use super::evaluated::{Evaluated, parsed};
use super::options::FlagOptions;
use crate::Error;
use crate::api::unexpected_json;

/// Evaluates flags by their definitions, without a request. Holds one answer of PostHog's, and never changes.
pub struct LocalFlags {
    evaluator: LocalEvaluator,
    /// The payloads of each flag, by the flag's values.
    payloads: BTreeMap<String, HashMap<String, Value>>,
}

/// The parts of the definitions that the SDK's evaluator ignores.
#[derive(Deserialize)]
struct Extras {
    flags: Vec<FlagExtras>,
}

#[derive(Deserialize)]
struct FlagExtras {
    key: String,
    #[serde(default)]
    ensure_experience_continuity: Value,
    #[serde(default)]
    bucketing_identifier: Value,
}

impl FlagExtras {
    /// Only PostHog knows which id a person had before, and on which device.
    fn needs_another_id(&self) -> bool {
        self.ensure_experience_continuity == true || self.bucketing_identifier == "device_id"
    }
}

/// The flags that could be evaluated locally.
#[derive(Debug, Default)]
pub struct LocalAnswer {
    pub flags: BTreeMap<String, Evaluated>,
    /// Nothing is left to ask PostHog for.
    pub is_whole: bool,
}

impl LocalFlags {
    /// Reads PostHog's answer.
    ///
    /// # Errors
    ///
    /// `WrongHost` if these are not definitions.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let unexpected_json = |cause| unexpected_json(&cause);
        let mut definitions: LocalEvaluationResponse =
            serde_json::from_slice(body).map_err(unexpected_json)?;
        let Extras { flags } = serde_json::from_slice(body).map_err(unexpected_json)?;
        let undecidable: HashSet<String> =
            flags.into_iter().filter(FlagExtras::needs_another_id).map(|flag| flag.key).collect();
        let payloads = definitions.flags.iter();
        let payloads = payloads.map(|flag| (flag.key.clone(), flag.filters.payloads.clone())).collect();
        // A flag that is off is off for everybody, so it needs no other id.
        definitions.flags.retain(|flag| !flag.active || !undecidable.contains(&flag.key));
        let cache = FlagCache::new();
        cache.update(definitions);
        Ok(Self { evaluator: LocalEvaluator::new(cache), payloads })
    }

    /// Evaluates the flags that are asked for. Leaves out those that depend on something that only PostHog knows, another
    /// property of the person or an earlier id for example.
    pub fn evaluate(&self, distinct_id: &str, options: &FlagOptions) -> LocalAnswer {
        let mut person: HashMap<String, Value> = owned(&options.person_properties);
        person.entry("distinct_id".to_owned()).or_insert_with(|| distinct_id.into());
        let groups = owned(&options.groups);
        let of_groups = options.group_properties.iter();
        let of_groups = of_groups.map(|(group, properties)| (group.clone(), owned(properties))).collect();
        let values: Vec<(String, FlagValue)> = match &options.keys {
            Some(keys) => {
                let value =
                    |key| self.evaluator.evaluate_flag(key, distinct_id, &person, &groups, &of_groups);
                keys.iter().filter_map(|key| Some((key.clone(), value(key).ok()??))).collect()
            }
            // One by one, the SDK would copy all cohorts for each.
            None => {
                let all = self.evaluator.evaluate_all_flags(distinct_id, &person, &groups, &of_groups);
                all.into_iter().filter_map(|(key, value)| Some((key, value.ok()?))).collect()
            }
        };
        let count = options.keys.as_ref().map_or(self.payloads.len(), BTreeSet::len);
        let flags = values.into_iter().map(|(key, value)| (key.clone(), self.with_payload(&key, value)));
        let flags: BTreeMap<_, _> = flags.collect();
        LocalAnswer { is_whole: flags.len() == count, flags }
    }

    fn with_payload(&self, key: &str, value: FlagValue) -> Evaluated {
        let (enabled, variant) = match value {
            FlagValue::Boolean(enabled) => (enabled, None),
            FlagValue::String(variant) => (true, Some(variant)),
        };
        let payload = || self.payloads.get(key)?.get(variant.as_deref().unwrap_or("true")).cloned();
        Evaluated {
            enabled,
            payload: enabled.then(payload).flatten().map(parsed),
            variant,
            id: None,
            version: None,
            // The SDK's words.
            reason: Some("Evaluated locally".to_owned()),
        }
    }
}

fn owned<V: Clone>(map: &BTreeMap<String, V>) -> HashMap<String, V> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl fmt::Debug for LocalFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} definitions", self.payloads.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn local(flags: Value, cohorts: Value) -> Option<LocalFlags> {
        let definitions = json!({"flags": flags, "group_type_mapping": {"0": "company"}, "cohorts": cohorts});
        LocalFlags::read(definitions.to_string().as_bytes()).ok()
    }

    fn flag(key: &str, property: &Value) -> Value {
        let groups = json!([{"properties": [property], "rollout_percentage": 100.0}]);
        json!({"key": key, "active": true, "filters": {"groups": groups}})
    }

    #[test]
    fn a_condition_may_ask_for_the_persons_id() {
        let is_kim = json!({"key": "distinct_id", "type": "person", "value": "kim", "operator": "exact"});
        let local = local(json!([flag("a", &is_kim)]), json!({})).unwrap();
        let is_on = |id: &str| local.evaluate(id, &FlagOptions::default()).flags["a"].enabled;
        assert!(is_on("kim") && !is_on("lee"));
    }

    #[test]
    fn definitions_that_refer_to_themselves_are_undecided() {
        let depends =
            |key: &str| json!({"key": key, "type": "flag", "value": true, "operator": "flag_evaluates_to"});
        let in_cohort = json!({"key": "id", "type": "cohort", "value": 1, "operator": "in"});
        let cohorts = json!({"1": {"type": "AND", "values": [in_cohort]}});
        let flags = json!([flag("a", &depends("b")), flag("b", &depends("a")), flag("c", &in_cohort)]);
        let answer = local(flags, cohorts).unwrap().evaluate("kim", &FlagOptions::default());
        assert!(!answer.is_whole && !answer.flags.contains_key("c"), "{answer:?}");
    }

    /// Operands, whether they make sense to an operator or not.
    fn odd() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!(null)),
            Just(json!(["(", "a{9999999}"])),
            Just(json!({"type": "AND"})),
            any::<f64>().prop_map(|number| json!(number)),
            any::<i64>().prop_map(|number| json!(number)),
            "[-+0-9.a-z(*?\\[d]{0,12}".prop_map(|text| json!(text)),
            "\\PC{0,12}".prop_map(|text| json!(text)),
        ]
    }

    proptest! {
        /// Whatever PostHog says, the caller gets an answer.
        #[test]
        fn no_definition_panics(
            operator in prop::sample::select(vec![
                "exact", "is_not", "icontains", "not_icontains", "regex", "not_regex", "gt", "gte", "lt", "lte",
                "is_set", "is_not_set", "is_date_exact", "is_date_before", "is_date_after", "in", "not_in",
                "semver_eq", "semver_neq", "semver_gt", "semver_gte", "semver_lt", "semver_lte", "semver_tilde",
                "semver_caret", "semver_wildcard", "flag_evaluates_to", "between", "odd",
            ]),
            kind in prop::sample::select(vec!["person", "group", "cohort", "flag", "odd"]),
            (value, known) in (odd(), odd()),
            rollout in prop::num::f64::NORMAL,
            group_type in -2..3,
        ) {
            let property = json!({"key": "p", "type": kind, "value": value, "operator": operator});
            let groups = json!([
                {"properties": [property], "rollout_percentage": rollout, "aggregation_group_type_index": group_type},
            ]);
            let variants = json!({"variants": [{"key": "v", "rollout_percentage": rollout}]});
            let flags = json!([{"key": "f", "active": true, "filters": {"groups": groups, "multivariate": variants}}]);
            let options = FlagOptions::default().person_property("p", known.clone()).group("company", "acme");
            let options = options.group_property("company", "p", known);
            if let Some(local) = local(flags, json!({"1": value})) {
                local.evaluate("kim", &options);
            }
        }
    }
}
