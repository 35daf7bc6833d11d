use std::time::Duration;

use super::config::Config;
use super::history::Lines;
use super::plan::{Action, Plan};
use super::run::run;

/// The most runs that are worth a shorter history.
const RUNS: usize = 400;

/// Takes steps out of a plan as long as the same rule is broken without them.
pub fn shrink(plan: &Plan, rule: &str) -> Plan {
    let mut shrinker = Shrinker { best: plan.clone(), rule, left: RUNS };
    let mut chunk = plan.steps.len().div_ceil(2);
    loop {
        let is_shorter = shrinker.without_chunks(chunk);
        if chunk == 1 && !is_shorter || shrinker.left == 0 {
            break;
        }
        chunk = chunk.div_ceil(2);
    }
    shrinker.simpler_configuration();
    shrinker.fewer_events();
    shrinker.best
}

struct Shrinker<'a> {
    best: Plan,
    rule: &'a str,
    left: usize,
}

impl Shrinker<'_> {
    /// Keeps a plan that breaks the rule too.
    fn keep(&mut self, plan: Plan) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let breaks = run(&plan, Lines::Forget).violation.is_some_and(|violation| violation.rule == self.rule);
        if breaks {
            self.best = plan;
        }
        breaks
    }

    fn without_chunks(&mut self, chunk: usize) -> bool {
        let (mut from, mut is_shorter) = (0, false);
        while from < self.best.steps.len() && self.left > 0 {
            let mut plan = self.best.clone();
            plan.steps.drain(from..(from + chunk).min(plan.steps.len()));
            if self.keep(plan) {
                is_shorter = true;
            } else {
                from += chunk;
            }
        }
        is_shorter
    }

    fn simpler_configuration(&mut self) {
        let config = self.best.config.clone();
        for config in [
            Config { settings: None, spool: None, has_hook: false, ..config.clone() },
            Config { settings: None, ..config },
            Config { spool: None, ..self.best.config.clone() },
            Config { has_hook: false, ..self.best.config.clone() },
        ] {
            let plan = Plan { config, ..self.best.clone() };
            self.keep(plan);
        }
    }

    fn fewer_events(&mut self) {
        for index in 0..self.best.steps.len() {
            let mut plan = self.best.clone();
            match &mut plan.steps[index].action {
                Action::Capture { events, .. } if *events > 1 => *events = 1,
                Action::PostHog(trouble) if trouble.lasts > Duration::from_secs(10) => {
                    trouble.lasts = Duration::from_secs(10);
                }
                _ => continue,
            }
            self.keep(plan);
        }
    }
}
