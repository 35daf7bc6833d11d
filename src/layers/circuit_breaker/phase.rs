use super::CircuitState;
use super::sync::{AtomicU64, Ordering};

/// What a call reads instead of taking the lock: the state, how often it has changed, and whether one more
/// success would change anything. Two phases are the same as long as no state change lies between them.
#[derive(Clone, Copy, Debug)]
pub struct Phase(u64);

/// The lowest two bits are the state.
const STATE: u64 = 0b011;
const SPOTLESS: u64 = 0b100;
const CHANGE: u64 = 0b1000;

impl Phase {
    #[inline]
    pub fn state(self) -> CircuitState {
        match self.0 & STATE {
            0 => CircuitState::Closed,
            1 => CircuitState::Open,
            _ => CircuitState::HalfOpen,
        }
    }

    #[inline]
    pub fn is_same(self, other: Self) -> bool {
        (self.0 ^ other.0) & !SPOTLESS == 0
    }

    /// Closed, and the window holds successes alone, as many as it can: one more changes nothing.
    #[inline]
    pub fn is_spotless(self) -> bool {
        self.0 & SPOTLESS != 0
    }

    fn next(self, state: CircuitState) -> Self {
        Self((self.0 & !(STATE | SPOTLESS)).wrapping_add(CHANGE) | state as u64)
    }
}

/// Written only while the breaker's lock is held, read by everybody.
#[derive(Debug, Default)]
pub struct CurrentPhase(AtomicU64);

impl CurrentPhase {
    #[inline]
    pub fn read(&self) -> Phase {
        Phase(self.0.load(Ordering::Acquire))
    }

    pub fn enter(&self, state: CircuitState) {
        self.0.store(self.read().next(state).0, Ordering::Release);
    }

    /// Writes nothing when it is nothing new, so that the others need not read it anew.
    pub fn set_spotless(&self, spotless: bool) {
        let phase = self.read();
        if phase.is_spotless() != spotless {
            self.0.store(phase.0 ^ SPOTLESS, Ordering::Release);
        }
    }
}
