use std::cell::RefCell;
use std::collections::BTreeSet;

use http::{Request, StatusCode};
use posthog_health::routes::HealthRoute;
use posthog_health::{HealthReport, PostHog};
use tower::ServiceExt;

use crate::support::until;

/// A row of the table, and which of its claims were shown.
pub(crate) struct Row {
    pub(crate) failure: String,
    claims: BTreeSet<String>,
    shown: RefCell<BTreeSet<String>>,
}

impl Row {
    pub(crate) fn read(line: &str) -> Self {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [failure, claims @ ..] = &cells[..] else { panic!("no row: {line}") };
        assert!((2..=3).contains(&claims.len()), "{line}");
        let claims = claims.iter().flat_map(|cell| cell.split("; ")).filter(|claim| !claim.is_empty());
        let claims = claims.map(str::to_owned).collect();
        Self { failure: (*failure).to_owned(), claims, shown: RefCell::default() }
    }

    /// The row claims it, and so it is.
    pub(crate) fn shows(&self, claim: &str, holds: bool) {
        assert!(self.claims.contains(claim), "{}: does not claim: {claim}", self.failure);
        assert!(holds, "{}: not so: {claim}", self.failure);
        self.shown.borrow_mut().insert(claim.to_owned());
    }

    /// `capture` has returned, and the service stays ready.
    pub(crate) async fn shows_nothing_noticed(&self, posthog: &PostHog) {
        let asked = Request::get("/readyz").body(()).unwrap();
        let answer = HealthRoute::readiness(posthog).oneshot(asked).await.unwrap();
        self.shows("nothing", answer.status() == StatusCode::OK);
    }

    /// The report gives these reasons and no other.
    pub(crate) fn shows_reasons(&self, report: &HealthReport, codes: &[&str]) {
        let given: Vec<_> = report.reasons.iter().map(|reason| reason.code()).collect();
        assert_eq!(given, codes, "{}", self.failure);
        codes.iter().for_each(|code| self.shows(&format!("`{code}`"), true));
    }

    /// These alerts come.
    pub(crate) async fn shows_alerts(&self, posthog: &PostHog, names: &[&str]) {
        for name in names {
            until(|| posthog.alerts().iter().any(|alert| alert.name.to_string() == *name)).await;
            self.shows(name, true);
        }
    }

    /// The claims that nothing has shown; those about the log, by what it says.
    pub(crate) fn open_after(&self, log: &str) -> Vec<String> {
        let is_logged = |claim: &str| claim.starts_with('"') && log.contains(claim.trim_matches('"'));
        let shown = self.shown.borrow();
        self.claims.difference(&shown).filter(|claim| !is_logged(claim)).cloned().collect()
    }
}
