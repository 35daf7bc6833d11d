use super::*;
use crate::{AlertName, Surface};

fn well() -> Observations {
    let p99 = Some(Duration::from_millis(80));
    Observations {
        alerts: Vec::new(),
        attempts: 100,
        failed: 0,
        p99,
        delivered: 1_000,
        lost: 0,
        dead_lettered: 0,
    }
}

fn alert(name: AlertName, severity: Severity) -> Alert {
    Alert {
        name,
        surface: Surface::Capture,
        severity,
        firing_for: Duration::ZERO,
        detail: String::new(),
        runbook: name.runbook(),
    }
}

fn judge(seen: Observations) -> RolloutVerdict {
    verdict(&RolloutConfig::default(), Duration::from_secs(5), seen)
}

#[test]
fn each_limit_holds_exactly() {
    use RolloutVerdict::{Hold, Proceed, Rollback};
    let seconds = Duration::from_secs;
    assert_eq!(judge(well()), Proceed);
    assert_eq!(judge(Observations { failed: 5, ..well() }), Proceed, "five in a hundred may fail");
    let failing = RolloutReason::ErrorRate { failed: 6, attempts: 100 };
    assert_eq!(judge(Observations { failed: 6, ..well() }), Rollback(vec![failing]));
    let stray = Observations { attempts: 20, failed: 2, ..well() };
    assert_eq!(judge(stray), Proceed, "two failures are stray ones");
    assert_eq!(judge(Observations { p99: Some(seconds(5)), ..well() }), Proceed);
    let p99 = Duration::from_millis(5_001);
    let slow = RolloutReason::Latency { p99 };
    assert_eq!(judge(Observations { p99: Some(p99), ..well() }), Rollback(vec![slow]));
    let too_little = RolloutReason::TooLittleTraffic { attempts: 19, needed: 20 };
    let few = Observations { attempts: 19, failed: 19, p99: Some(p99), ..well() };
    assert_eq!(judge(few), Hold(vec![too_little]), "too few to say that it is bad either");
    assert_eq!(judge(Observations { attempts: 20, ..well() }), Proceed);
}

#[test]
fn losses_and_urgent_alerts_need_no_traffic() {
    let none = Observations { attempts: 0, p99: None, delivered: 0, ..well() };
    let rolls_back = |seen| matches!(judge(seen), RolloutVerdict::Rollback(reasons) if reasons.len() == 1);
    assert!(rolls_back(Observations { lost: 1, ..none.clone() }));
    assert!(rolls_back(Observations { dead_lettered: 1, ..none.clone() }));
    assert!(rolls_back(Observations { lost: 2, ..well() }));
    let one_each = Observations { delivered: 998, lost: 1, dead_lettered: 1, ..well() };
    assert_eq!(judge(one_each), RolloutVerdict::Proceed, "one in a thousand");
    assert!(rolls_back(Observations { delivered: 998, lost: 1, ..well() }), "one in fewer");
    let urgent = vec![alert(AlertName::ApiDown, Severity::P1)];
    assert!(rolls_back(Observations { alerts: urgent, ..none.clone() }));
    assert!(matches!(judge(none), RolloutVerdict::Hold(_)));
    let other = vec![alert(AlertName::HighLatency, Severity::P2)];
    assert!(matches!(judge(Observations { alerts: other, ..well() }), RolloutVerdict::Hold(_)));
}
