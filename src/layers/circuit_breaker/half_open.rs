use std::time::{Duration, Instant};

/// Who may probe while the breaker is half open, and what the probes have found. It is pure: time is an argument.
#[derive(Debug)]
pub struct HalfOpen {
    /// Permits that nobody has.
    free: u32,
    /// Permits with a call under way, or with a call that waits for the service. The rest is reserved for idle handles.
    under_way: u32,
    successes: u32,
    /// When the permits have been out for too long.
    until: Instant,
}

/// What a call that wants to probe learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has a permit.
    Permit,
    /// All permits are out, until then at the latest.
    Wait(Instant),
    /// All permits have been out for too long, and none of them has a call: they are void.
    Idle,
    /// All permits have been out for too long, and a call hangs.
    Hung,
}

impl HalfOpen {
    pub fn new(probes: u32, now: Instant) -> Self {
        Self { free: probes, under_way: 0, successes: 0, until: now }
    }

    /// Gives a permit, which is good for `time`.
    pub fn ask(&mut self, now: Instant, time: Duration) -> Answer {
        if self.free > 0 {
            self.free -= 1;
            self.under_way += 1;
            self.until = self.until.max(now.checked_add(time).unwrap_or(now));
            return Answer::Permit;
        }
        self.look(now).unwrap_or(Answer::Wait(self.until))
    }

    /// Whether the permits have been out for too long.
    pub fn look(&self, now: Instant) -> Option<Answer> {
        let is_over = self.free == 0 && now >= self.until;
        is_over.then_some(if self.under_way > 0 { Answer::Hung } else { Answer::Idle })
    }

    /// A permit waits for its call.
    pub fn park(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The call of a parked permit begins.
    pub fn unpark(&mut self) {
        self.under_way += 1;
    }

    /// A permit is back.
    pub fn release(&mut self, was_parked: bool) {
        self.free += 1;
        self.under_way = self.under_way.saturating_sub(u32::from(!was_parked));
    }

    /// A probe has succeeded. Returns how many have.
    pub fn succeed(&mut self) -> u32 {
        self.release(false);
        self.successes += 1;
        self.successes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(30);

    #[test]
    fn permits_are_out_for_their_time_at_most() {
        let now = Instant::now();
        let mut half_open = HalfOpen::new(2, now);
        assert_eq!(half_open.ask(now, TIME), Answer::Permit);
        assert_eq!(half_open.look(now + 2 * TIME), None, "one is free");
        assert_eq!(half_open.ask(now + TIME, TIME), Answer::Permit);
        assert_eq!(half_open.ask(now + TIME, TIME), Answer::Wait(now + 2 * TIME), "since the latest");
        assert_eq!(half_open.ask(now + 2 * TIME, TIME), Answer::Hung);
        half_open.park();
        half_open.park();
        assert_eq!(half_open.ask(now + 2 * TIME, TIME), Answer::Idle);
        half_open.unpark();
        assert_eq!(half_open.look(now + 2 * TIME), Some(Answer::Hung));
    }

    #[test]
    fn a_permit_that_is_back_is_free_whoever_had_it() {
        let now = Instant::now();
        let mut half_open = HalfOpen::new(1, now);
        for was_parked in [false, true] {
            assert_eq!(half_open.ask(now, TIME), Answer::Permit);
            if was_parked {
                half_open.park();
            }
            half_open.release(was_parked);
            assert_eq!(half_open.under_way, 0);
        }
        assert_eq!(half_open.ask(now, TIME), Answer::Permit);
        assert_eq!(half_open.succeed(), 1);
        assert_eq!(half_open.ask(now, TIME), Answer::Permit);
        assert_eq!(half_open.succeed(), 2);
    }
}
