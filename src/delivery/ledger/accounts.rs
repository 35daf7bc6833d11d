use super::{DropReason, Ledger, Totals};

/// A place where an event can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Not captured yet: what leaves it counts as captured.
    Outside,
    /// In memory only.
    Queued,
    /// On disk, whether or not in memory too.
    Spooled,
    DeadLettered,
    Delivered,
    Dropped(DropReason),
}

/// The ledger, kept by double entry.
///
/// [`transfer`](Self::transfer) is the only way to change a count. It takes from one account what it adds to another, so
/// the ledger's equation holds by construction, and nobody has to remember the second half of a change.
#[derive(Debug, Default)]
pub struct Accounts(Ledger);

impl Accounts {
    /// Moves `events` from one account to another.
    pub fn transfer(&mut self, events: u64, from: Account, to: Account) {
        // Only `Outside` can be overdrawn: the count of captured events is its overdraft.
        debug_assert!(from == Account::Outside || self.count(from) >= events, "{from:?} has no {events}");
        self.add(from, events.wrapping_neg());
        self.add(to, events);
    }

    /// The counts now.
    pub fn ledger(&self) -> Ledger {
        self.0
    }

    pub fn totals(&self) -> Totals {
        self.0.totals()
    }

    pub fn queued(&self) -> u64 {
        self.0.queued
    }

    pub fn spooled(&self) -> u64 {
        self.0.spooled
    }

    fn count(&self, account: Account) -> u64 {
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = &self.0;
        match account {
            Account::Outside => captured.wrapping_neg(),
            Account::Queued => *queued,
            Account::Spooled => *spooled,
            Account::DeadLettered => *dead_lettered,
            Account::Delivered => *delivered,
            Account::Dropped(reason) => dropped.count(reason),
        }
    }

    fn add(&mut self, account: Account, events: u64) {
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = &mut self.0;
        let (count, events) = match account {
            Account::Outside => (captured, events.wrapping_neg()),
            Account::Queued => (queued, events),
            Account::Spooled => (spooled, events),
            Account::DeadLettered => (dead_lettered, events),
            Account::Delivered => (delivered, events),
            Account::Dropped(reason) => (dropped.count_mut(reason), events),
        };
        *count = count.wrapping_add(events);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> impl Strategy<Value = Account> {
        let reason = prop::sample::select(DropReason::ALL.to_vec());
        prop_oneof![
            Just(Account::Outside),
            Just(Account::Queued),
            Just(Account::Spooled),
            Just(Account::DeadLettered),
            Just(Account::Delivered),
            reason.prop_map(Account::Dropped),
        ]
    }

    fn balances(accounts: &Accounts) -> bool {
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = accounts.ledger();
        captured == delivered + queued + spooled + dead_lettered + dropped.total()
    }

    proptest! {
        /// Guarantee 2 by construction: no order of transfers breaks the equation.
        #[test]
        fn the_equation_holds_after_any_transfers(
            transfers in prop::collection::vec((0u64..100, account(), account()), 0..100),
        ) {
            let mut accounts = Accounts::default();
            for (events, from, to) in transfers {
                let before = (accounts.count(from), accounts.count(to));
                let events = if from == Account::Outside { events } else { events.min(before.0) };
                accounts.transfer(events, from, to);
                if from == to {
                    prop_assert_eq!(accounts.count(from), before.0);
                } else {
                    prop_assert_eq!(accounts.count(from), before.0.wrapping_sub(events));
                    prop_assert_eq!(accounts.count(to), before.1.wrapping_add(events));
                }
                prop_assert!(balances(&accounts));
            }
        }
    }
}
