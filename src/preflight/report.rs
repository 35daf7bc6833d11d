use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::check::{Check, CheckId, CheckStatus, Finding};
use super::checklist::{CHECKLIST, Item, Section};
use super::table::Table;
use crate::rt::millis;

/// The whole checklist, item by item, with what the checks found.
///
/// `Display` is the table for people, without colour; `Serialize` is the same for machines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PreflightReport {
    /// The result of each check, in the checklist's order.
    pub checks: Vec<Check>,
    /// How long it took.
    pub took: Duration,
}

/// The verdict of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "go, look, or do not go")]
pub enum PreflightVerdict {
    /// No check warns or fails.
    Pass,
    /// No check fails, and at least one warns.
    Warn,
    /// At least one check fails.
    Fail,
}

/// The number of checks that ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Checks that passed.
    pub pass: usize,
    /// Checks that warn.
    pub warn: usize,
    /// Checks that failed.
    pub fail: usize,
    /// Checks that were skipped.
    pub skipped: usize,
}

impl PreflightReport {
    /// Puts findings into the checklist's order. A check without a finding has failed.
    pub(crate) fn new(mut findings: HashMap<CheckId, Finding>, took: Duration) -> Self {
        let ids = CHECKLIST.iter().flat_map(|item| item.checks);
        let checks = ids.map(|&id| findings.remove(&id).unwrap_or_else(no_result).of(id)).collect();
        Self { checks, took }
    }

    /// The verdict.
    pub fn verdict(&self) -> PreflightVerdict {
        match self.counts() {
            Counts { fail: 1.., .. } => PreflightVerdict::Fail,
            Counts { warn: 1.., .. } => PreflightVerdict::Warn,
            _ => PreflightVerdict::Pass,
        }
    }

    /// The exit code for a process that reports it: 2 for a failure, 1 for a warning if `strict`, else 0.
    pub fn exit_code(&self, strict: bool) -> u8 {
        match self.verdict() {
            PreflightVerdict::Fail => 2,
            PreflightVerdict::Warn if strict => 1,
            PreflightVerdict::Warn | PreflightVerdict::Pass => 0,
        }
    }

    /// The number of checks that ended in each way.
    pub fn counts(&self) -> Counts {
        let ended = |status| self.checks.iter().filter(|check| check.status == status).count();
        Counts {
            pass: ended(CheckStatus::Pass),
            warn: ended(CheckStatus::Warn),
            fail: ended(CheckStatus::Fail),
            skipped: ended(CheckStatus::Skipped),
        }
    }

    /// The result of one check.
    pub fn check(&self, id: CheckId) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// The checklist's items in order, each with its checks.
    pub fn items(&self) -> impl Iterator<Item = (&'static Item, Vec<&Check>)> {
        CHECKLIST.iter().map(|item| {
            let checks = self.checks.iter().filter(|check| item.checks.contains(&check.id));
            (item, checks.collect())
        })
    }

    /// The table for people, with colours for a terminal.
    pub fn colored(&self) -> impl fmt::Display {
        Table { report: self, is_colored: true }
    }
}

fn no_result() -> Finding {
    Finding::fail(
        "no result in the time that it has",
        "something hangs: look at the checks beside it, then run it again",
    )
}

impl fmt::Display for PreflightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Table { report: self, is_colored: false }.fmt(f)
    }
}

impl Serialize for PreflightReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct InSection<'a> {
            section: Section,
            title: &'static str,
            items: Vec<InItem<'a>>,
        }
        #[derive(Serialize)]
        struct InItem<'a> {
            #[serde(flatten)]
            item: &'static Item,
            checks: Vec<&'a Check>,
        }
        let sections: Vec<_> = Section::ALL
            .into_iter()
            .map(|section| {
                let items = self.items().filter(|(item, _)| item.section == section);
                let items = items.map(|(item, checks)| InItem { item, checks }).collect();
                InSection { section, title: section.title(), items }
            })
            .collect();
        let mut report = serializer.serialize_struct("PreflightReport", 4)?;
        report.serialize_field("verdict", &self.verdict())?;
        report.serialize_field("counts", &self.counts())?;
        report.serialize_field("took_ms", &millis(self.took))?;
        report.serialize_field("sections", &sections)?;
        report.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(status: CheckStatus) -> PreflightReport {
        let mut report = all_pass();
        report.checks[7].status = status;
        report
    }

    fn all_pass() -> PreflightReport {
        let findings = CheckId::ALL.iter().map(|&id| (id, Finding::pass("well"))).collect();
        PreflightReport::new(findings, Duration::from_millis(12))
    }

    #[test]
    fn the_worst_check_decides_and_warnings_only_count_when_strict() {
        use CheckStatus::{Fail, Pass, Skipped, Warn};
        for (status, verdict, lenient, strict) in [
            (Pass, PreflightVerdict::Pass, 0, 0),
            (Skipped, PreflightVerdict::Pass, 0, 0),
            (Warn, PreflightVerdict::Warn, 0, 1),
            (Fail, PreflightVerdict::Fail, 2, 2),
        ] {
            let report = with(status);
            assert_eq!(
                (report.verdict(), report.exit_code(false), report.exit_code(true)),
                (verdict, lenient, strict)
            );
        }
        let mut both = with(Warn);
        both.checks[8].status = Fail;
        assert_eq!(both.exit_code(true), 2);
    }

    #[test]
    fn a_check_without_a_result_has_failed() {
        let report = PreflightReport::new(HashMap::new(), Duration::ZERO);
        assert_eq!(report.counts(), Counts { fail: CheckId::ALL.len(), ..Counts::default() });
        assert!(report.checks.iter().all(|check| check.remedy.is_some()));
    }

    #[test]
    fn json_and_table_have_every_item_and_every_check_in_order() {
        let report = all_pass();
        let json = serde_json::to_value(&report).unwrap();
        let items = json["sections"].as_array().unwrap().iter().flat_map(|section| {
            assert!(section["section"].is_string() && section["title"].is_string());
            section["items"].as_array().unwrap()
        });
        let items: Vec<_> = items.collect();
        assert_eq!(items.len(), CHECKLIST.len());
        let table = report.to_string();
        let mut rest = table.as_str();
        for (item, json) in CHECKLIST.iter().zip(items) {
            assert_eq!(json["text"], item.text);
            let ids: Vec<_> = json["checks"].as_array().unwrap().iter().map(|check| &check["id"]).collect();
            assert_eq!(ids, item.checks.iter().map(|id| id.as_str()).collect::<Vec<_>>());
            for text in std::iter::once(item.text).chain(item.checks.iter().map(|id| id.as_str())) {
                let at = rest.find(text).unwrap_or_else(|| panic!("{text} in its order in {table}"));
                rest = &rest[at..];
            }
        }
        let colored = report.colored().to_string();
        assert!(colored.contains("\u{1b}[32mpass  \u{1b}[0m config.token ") && !table.contains('\u{1b}'));
        assert!(rest.contains("37 checks: 37 pass, 0 warn, 0 fail, 0 skipped"), "{rest}");
    }
}
