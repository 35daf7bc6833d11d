use super::CircuitState;
use super::phase::CurrentPhase;

#[test]
fn a_state_change_makes_another_phase_and_a_spot_does_not() {
    let current = CurrentPhase::default();
    let first = current.read();
    assert_eq!((first.state(), first.is_spotless()), (CircuitState::Closed, false));
    current.set_spotless(true);
    assert!(current.read().is_spotless() && current.read().is_same(first));
    for state in [CircuitState::Open, CircuitState::HalfOpen, CircuitState::Closed] {
        let before = current.read();
        current.enter(state);
        let after = current.read();
        assert_eq!((after.state(), after.is_spotless()), (state, false));
        assert!(!after.is_same(before) && !after.is_same(first));
    }
}
