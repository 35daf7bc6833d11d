use std::collections::BTreeMap;
use std::fmt;

use super::plan::{DiskFault, EventKind, Fault, Provokes};
use crate::{AlertName, DropReason, Reason};

/// How often each thing occurred, by its group and name.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(&'static str, String), u64>,
}

impl Coverage {
    /// Everything that may occur, with 0.
    pub fn empty() -> Self {
        let mut coverage = Self::default();
        let mut declare = |group, name: String| {
            coverage.counts.insert((group, name), 0);
        };
        Fault::all().into_iter().chain(Fault::OF_V1).for_each(|fault| declare("fault", fault.name()));
        DiskFault::ALL.into_iter().for_each(|fault| declare("disk fault", fault.name().into()));
        DropReason::all().for_each(|reason| declare("drop reason", reason.as_str().into()));
        Reason::all().for_each(|reason| declare("health reason", reason.code().into()));
        AlertName::all().for_each(|name| declare("alert", name.code().into()));
        Provokes::ALL.into_iter().for_each(|provokes| declare("bad event", format!("{provokes:?}")));
        ["delivered", "dead letter", "acknowledged", "on disk at the end"]
            .into_iter()
            .for_each(|fate| declare("fate", fate.into()));
        coverage
    }

    pub fn count(&mut self, group: &'static str, name: impl Into<String>) {
        self.add(group, name, 1);
    }

    pub fn add(&mut self, group: &'static str, name: impl Into<String>, times: u64) {
        *self.counts.entry((group, name.into())).or_insert(0) += times;
    }

    pub fn event(&mut self, kind: EventKind) {
        match kind {
            EventKind::Bad(provokes) => self.count("bad event", format!("{provokes:?}")),
            kind => self.count("event", format!("{kind:?}")),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for ((group, name), times) in &other.counts {
            self.add(group, name.clone(), *times);
        }
    }

    /// How many faults of any kind occurred.
    pub fn faults(&self) -> u64 {
        let is_fault = |group: &str| ["fault", "disk fault", "bad event", "life"].contains(&group);
        self.counts.iter().filter(|((group, _), _)| is_fault(group)).map(|(_, times)| times).sum()
    }

    /// Returns the things that never occurred.
    pub fn missing(&self) -> Vec<String> {
        let never = self.counts.iter().filter(|(_, times)| **times == 0);
        never.map(|((group, name), _)| format!("{group}: {name}")).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for ((group, name), times) in &self.counts {
            if *group != last {
                last = group;
                write!(f, "\n{group}:")?;
            }
            write!(f, " {name} {times},")?;
        }
        Ok(())
    }
}
