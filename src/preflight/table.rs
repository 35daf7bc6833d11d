use std::fmt;

use super::check::{Check, CheckStatus};
use super::checklist::Section;
use super::report::{Counts, PreflightReport, PreflightVerdict};

/// The report for people.
pub struct Table<'a> {
    pub report: &'a PreflightReport,
    pub is_colored: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const GREY: &str = "90";
const BOLD: &str = "1";

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, section) in (1..).zip(Section::ALL) {
            self.paint(f, BOLD, &format!("{number}. {}", section.title()))?;
            writeln!(f)?;
            for (item, checks) in self.report.items().filter(|(item, _)| item.section == section) {
                writeln!(f, "   {}", item.text)?;
                for check in checks {
                    self.check(f, check)?;
                }
                for given in item.by_construction {
                    self.line(f, GREY, "given", &format!("{} ({})", given.what, given.shown_by))?;
                }
                if let Some(manual) = item.manual {
                    self.line(f, GREY, "manual", manual)?;
                }
            }
            writeln!(f)?;
        }
        self.summary(f)
    }
}

impl Table<'_> {
    fn check(&self, f: &mut fmt::Formatter<'_>, check: &Check) -> fmt::Result {
        let (color, word) = match check.status {
            CheckStatus::Pass => (GREEN, "pass"),
            CheckStatus::Warn => (YELLOW, "WARN"),
            CheckStatus::Fail => (RED, "FAIL"),
            CheckStatus::Skipped => (GREY, "skip"),
        };
        self.line(f, color, word, &format!("{:<24} {}", check.id, check.seen))?;
        if let Some(remedy) = &check.remedy {
            writeln!(f, "               why: {}", check.why)?;
            writeln!(f, "               do:  {remedy}")?;
        }
        Ok(())
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, color: &str, word: &str, text: &str) -> fmt::Result {
        write!(f, "      ")?;
        self.paint(f, color, &format!("{word:<6}"))?;
        writeln!(f, " {text}")
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { pass, warn, fail, skipped } = self.report.counts();
        let all = self.report.checks.len();
        write!(f, "{all} checks: {pass} pass, {warn} warn, {fail} fail, {skipped} skipped. ")?;
        let (color, verdict) = match self.report.verdict() {
            PreflightVerdict::Pass => (GREEN, "PASS"),
            PreflightVerdict::Warn => (YELLOW, "PASS, with warnings"),
            PreflightVerdict::Fail => (RED, "FAIL: not ready to go live"),
        };
        self.paint(f, color, verdict)?;
        writeln!(f)
    }

    fn paint(&self, f: &mut fmt::Formatter<'_>, color: &str, text: &str) -> fmt::Result {
        if self.is_colored { write!(f, "\x1b[{color}m{text}\x1b[0m") } else { f.write_str(text) }
    }
}
