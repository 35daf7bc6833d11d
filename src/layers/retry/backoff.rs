use std::time::Duration;

/// The shortest wait, unless the cap is shorter than twice as long. [`RetryLayer`](super::RetryLayer) gives the reason.
const FLOOR: Duration = Duration::from_millis(100);

/// A wait before the next attempt: the floor, and full jitter above it, capped together.
pub(crate) fn backoff(base: Duration, cap: Duration, doublings: u32, random: f64) -> Duration {
    let floor = FLOOR.min(cap / 2);
    floor + full_jitter(base, cap - floor, doublings, random)
}

/// A wait between zero and `base · 2^doublings`, capped. `random` is from `[0, 1)`.
pub fn full_jitter(base: Duration, cap: Duration, doublings: u32, random: f64) -> Duration {
    base.saturating_mul(1 << doublings.min(31)).min(cap).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_between_zero_and_the_capped_exponential(
            base in 1u64..10_000, cap in 1u64..100_000, n in 0u32..100, random in 0.0f64..1.0,
        ) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
            let wait = full_jitter(base, cap, n, random);
            prop_assert!(wait <= cap);
            if n < 16 {
                prop_assert!(wait <= base * 2u32.pow(n));
            }
        }
    }

    #[test]
    fn waits_stand_on_a_floor_that_leaves_half_of_a_short_cap() {
        let ms = Duration::from_millis;
        let range = |base, cap, n| [0.0, 1.0].map(|random| backoff(ms(base), ms(cap), n, random));
        assert_eq!(range(500, 30_000, 0), [ms(100), ms(600)]);
        assert_eq!(range(500, 30_000, 9), [ms(100), ms(30_000)]);
        assert_eq!(range(1, 10, 9), [ms(5), ms(10)]);
    }

    #[test]
    fn doubles_until_the_cap() {
        let ms = Duration::from_millis;
        let longest: Vec<_> = (0..5).map(|n| full_jitter(ms(500), ms(3000), n, 1.0)).collect();
        assert_eq!(longest, [ms(500), ms(1000), ms(2000), ms(3000), ms(3000)]);
    }
}
