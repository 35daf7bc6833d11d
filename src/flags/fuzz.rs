//! Answers of a server about flags and their definitions.

use std::collections::HashSet;

use bolero::check;
use serde_json::Value;

use super::answer::FlagsAnswer;
use super::local::LocalFlags;
use super::options::FlagOptions;
use crate::fuzz::{ROUNDS, SECRET, told};

/// The input as another parser reads it, which also looks at members that ours ignores. Those need not be UTF-8.
fn said(input: &[u8]) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(input)).ok()
}

#[test]
fn answer() {
    check!(name = "flags_answer").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let answer = match FlagsAnswer::read(input) {
            Ok(answer) => answer,
            Err(error) => return assert!(!told(&error).contains(SECRET), "{}", told(&error)),
        };
        let Some(said) = said(input) else { return };
        let flags = said["flags"].as_object().or_else(|| said[0].as_object()).unwrap();
        assert!(answer.flags.keys().eq(flags.keys()));
        for (key, flag) in &answer.flags {
            let enabled = flags[key].get("enabled").or_else(|| flags[key].get(0)).unwrap();
            assert_eq!(*enabled, flag.enabled);
        }
    });
}

#[test]
fn definitions() {
    check!(name = "definitions").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let local = match LocalFlags::read(input) {
            Ok(local) => local,
            Err(error) => return assert!(!told(&error).contains(SECRET), "{}", told(&error)),
        };
        let Some(said) = said(input) else { return };
        let flags = said.get("flags").or_else(|| said.get(0)).and_then(Value::as_array).unwrap();
        let name =
            |flag: &Value| flag.get("key").or_else(|| flag.get(1)).and_then(Value::as_str).map(str::to_owned);
        let defined: HashSet<String> = flags.iter().filter_map(name).collect();
        let all = FlagOptions::default()
            .person_property("email", "kim@example.com")
            .person_property("age", 41)
            .group("company", "acme")
            .group_property("company", "plan", "pro");
        let some = all.clone().only(["a", "b"]);
        for (options, only) in [(all, None), (some, Some(["a", "b"]))] {
            let answer = local.evaluate("kim", &options);
            assert!(answer.flags.keys().all(|key| defined.contains(key)));
            assert!(answer.flags.keys().all(|key| only.is_none_or(|only| only.contains(&key.as_str()))));
            assert!(
                answer
                    .flags
                    .values()
                    .all(|flag| flag.enabled || (flag.variant.is_none() && flag.payload.is_none()))
            );
            assert_eq!(answer.flags, local.evaluate("kim", &options).flags);
        }
    });
}
