//! The go-live checklist, every item in its order, and what covers it.

mod items;

use serde::Serialize;

pub use self::items::CHECKLIST;
use super::CheckId;

/// A section of the checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "the checklist's five")]
pub enum Section {
    /// Pre-Deployment Configuration.
    Configuration,
    /// Code Quality Verification.
    CodeQuality,
    /// Infrastructure Setup.
    Infrastructure,
    /// Documentation Requirements.
    Documentation,
    /// Deploy with Gradual Rollout.
    Rollout,
}

/// An item of the checklist: what covers it here, and what is left to a person.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Item {
    /// The section that it belongs to.
    pub section: Section,
    /// The checklist's wording.
    pub text: &'static str,
    /// The checks that look at it.
    #[serde(skip)]
    pub checks: &'static [CheckId],
    /// The properties that the library guarantees by construction.
    pub by_construction: &'static [Construction],
    /// What only a person can verify.
    pub manual: Option<&'static str>,
}

/// A property of the library, and where it is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Construction {
    /// The property.
    pub what: &'static str,
    /// A file of the repository, and the test in it if it is one: `tests/routes.rs liveness_asks_nobody`.
    pub shown_by: &'static str,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_check_belongs_to_one_item_and_each_item_is_covered() {
        let mut ids: Vec<_> = CHECKLIST.iter().flat_map(|item| item.checks).copied().collect();
        ids.sort_unstable();
        assert_eq!(ids, CheckId::ALL, "in the order of their definition, none twice");
        for item in CHECKLIST {
            let is_covered =
                !item.checks.is_empty() || !item.by_construction.is_empty() || item.manual.is_some();
            assert!(is_covered, "{}", item.text);
        }
        assert!(CHECKLIST.is_sorted_by_key(|item| item.section as usize), "in the order of the sections");
    }

    #[test]
    fn what_shows_a_property_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for Construction { shown_by, .. } in CHECKLIST.iter().flat_map(|item| item.by_construction) {
            let (file, test) = shown_by.split_once(' ').unwrap_or((shown_by, ""));
            let source = fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("no file {file}"));
            if !test.is_empty() {
                assert!(source.contains(&format!("fn {test}(")), "no test {test} in {file}");
            }
        }
    }
}
