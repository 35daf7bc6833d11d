use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};

/// tower's budget. It takes a lock and reads the clock for each deposit, so successes are counted until they pay for a
/// whole retry.
#[derive(Debug)]
pub struct SharedBudget {
    budget: TpsBudget,
    successes: AtomicU32,
    successes_a_deposit: u32,
}

impl SharedBudget {
    /// Over ten seconds, with a reserve of one retry a second.
    pub fn new(share: f32) -> Self {
        let successes_a_deposit = share.recip().ceil().max(1.0) as u32;
        let retries_a_deposit = share * successes_a_deposit as f32;
        Self {
            budget: TpsBudget::new(Duration::from_secs(10), 1, retries_a_deposit),
            successes: AtomicU32::new(0),
            successes_a_deposit,
        }
    }

    /// Each success draws its own number, so one in `successes_a_deposit` deposits, in whatever order threads run.
    #[inline]
    pub fn deposit(&self) {
        let before = self.successes.fetch_add(1, Ordering::Relaxed);
        if before % self.successes_a_deposit == self.successes_a_deposit - 1 {
            self.budget.deposit();
        }
    }

    /// Whether there is a retry left.
    pub fn withdraw(&self) -> bool {
        self.budget.withdraw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RESERVE: u32 = 10;

    proptest! {
        #[test]
        fn successes_pay_for_their_share_of_retries(percent in 0u32..1000, successes in 0u32..2000) {
            let budget = SharedBudget::new(percent as f32 / 100.0);
            (0..successes).for_each(|_| budget.deposit());
            let retries = (0..).take_while(|_| budget.withdraw()).count() as u32;
            let earned = successes * percent / 100;
            // Less than a deposit is missing, a thousandth is lost or won by rounding.
            let (lost, won) = (1 + percent / 100 + earned / 100, earned / 100);
            prop_assert!(retries + lost >= RESERVE + earned && retries <= RESERVE + earned + won + 1, "{retries} of {earned}");
        }
    }
}
