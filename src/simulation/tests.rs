use std::time::Duration;

use super::history::Lines;
use super::plan::Plan;
use super::run::run;

#[test]
fn a_seed_has_one_history() {
    for seed in 1..=6 {
        let (first, second) = (run(&Plan::draw(seed), Lines::Keep), run(&Plan::draw(seed), Lines::Keep));
        let differs = first.lines.iter().zip(&second.lines).position(|(first, second)| first != second);
        if let Some(line) = differs {
            let (first, second) = (&first.lines[line], &second.lines[line]);
            panic!("seed {seed}, line {line}:\n{first}\n{second}");
        }
        assert_eq!(first.hash, second.hash, "seed {seed}");
    }
}

#[test]
fn seeds_are_no_toys() {
    let mut plans: Vec<_> = (1..=15).map(|seed| run(&Plan::draw(seed), Lines::Forget)).collect();
    assert_eq!(plans.iter().find_map(|outcome| outcome.violation.clone()), None);
    plans.sort_by_key(|outcome| outcome.captures);
    assert!(plans[7].captures >= 300);
    plans.sort_by_key(|outcome| outcome.simulated);
    assert!(plans[7].simulated >= Duration::from_secs(600));
    plans.sort_by_key(|outcome| outcome.faults);
    assert!(plans[7].faults >= 3);
}
