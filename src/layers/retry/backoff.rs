use std::time::Duration;

/// A wait between zero and `base · 2^doublings`, capped. `random` is from `[0, 1)`.
pub(crate) fn full_jitter(base: Duration, cap: Duration, doublings: u32, random: f64) -> Duration {
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
    fn doubles_until_the_cap() {
        let ms = Duration::from_millis;
        let longest: Vec<_> = (0..5).map(|n| full_jitter(ms(500), ms(3000), n, 1.0)).collect();
        assert_eq!(longest, [ms(500), ms(1000), ms(2000), ms(3000), ms(3000)]);
    }
}
