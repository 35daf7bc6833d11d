//! Troubles that show a defect only if they meet at the right moment, which chance alone seldom draws.

use std::time::Duration;

use super::draw::Draft;
use super::{Action, DiskFault, DiskTrouble, EventKind, Fault, Make, Patience, Provokes, Trouble};

const SECOND: Duration = Duration::from_secs(1);

impl Draft {
    /// One in most seeds.
    pub fn coincidences(&mut self) {
        let at = Duration::from_millis(self.rng.u64(60_000..self.minutes * 60_000 - 180_000));
        match (self.rng.u8(..12), self.config.spool.is_some()) {
            (0, _) => self.throttled_in_an_outage(at),
            (1, true) => self.killed_while_it_acknowledges(at),
            (2, true) => self.power_loss_after_failed_syncs(at),
            (3, true) => self.files_removed_in_an_outage(at),
            (4, true) => self.hanging_disk_with_durable_captures(at),
            (5, true) => self.killed_in_an_outage(at),
            (6, true) => self.clock_jump_with_a_backlog(at),
            (7, true) => self.backlog_that_is_too_old(at),
            (8, true) => self.newer_file(at),
            (9, true) => self.quiet_power_loss(at),
            (10, true) => self.damage_of_a_backlog(at),
            (11, _) => self.bad_event_in_each_batch(),
            _ => {}
        }
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn posthog(&mut self, at: Duration, fault: Fault, lasts: Duration) {
        self.add(at, Action::PostHog(Trouble { fault, share: 100, lasts }));
    }

    /// Nothing is delivered for a while.
    fn outage(&mut self, at: Duration, lasts: Duration) {
        let fault =
            [Fault::Status { status: 503, retry_after: None }, Fault::Refused, Fault::Hang, Fault::Reset]
                [self.rng.usize(..4)];
        self.posthog(at, fault, lasts);
    }

    fn disk(&mut self, at: Duration, fault: DiskFault, lasts: Duration) {
        self.add(at, Action::Disk(DiskTrouble { fault, lasts }));
    }

    fn captures(&mut self, at: Duration, events: u32) {
        let make = Make { kind: EventKind::Good, is_typed: self.rng.bool(), size: 100 };
        self.add(at, Action::Capture { events, make });
    }

    fn durable(&mut self, at: Duration, patience: Option<Patience>) {
        let make = Make { kind: EventKind::Good, is_typed: self.rng.bool(), size: 100 };
        self.add(at, Action::CaptureDurably { make, patience });
    }

    fn crash(&mut self, at: Duration) {
        let down = self.down();
        let loses_power = self.rng.bool();
        self.add(
            at,
            if loses_power { Action::PowerLoss { down } } else { Action::Kill { at_write: None, down } },
        );
    }

    /// Half open, the breaker meets a 429.
    fn throttled_in_an_outage(&mut self, at: Duration) {
        let lasts = self.millis(10_000..60_000);
        self.posthog(at, Fault::Status { status: 503, retry_after: None }, lasts);
        let retry_after = self.rng.bool().then(|| self.rng.u32(1..30));
        self.posthog(at + lasts, Fault::Status { status: 429, retry_after }, SECOND * 20);
    }

    fn killed_while_it_acknowledges(&mut self, at: Duration) {
        self.outage(at - SECOND * 5, SECOND * 60);
        for _ in 0..3 {
            self.durable(at, None);
        }
        let down = self.down();
        match self.rng.u32(..8) {
            0 => self.crash(at + SECOND / 1_000),
            write => self.add(at, Action::Kill { at_write: Some(write), down }),
        }
    }

    /// A sync fails and the next one succeeds, but nothing that was written in between is on disk.
    fn power_loss_after_failed_syncs(&mut self, at: Duration) {
        let lasts = self.millis(1_000..10_000);
        self.outage(at - SECOND * 5, SECOND * 90);
        self.disk(at, DiskFault::Forgets, lasts);
        for _ in 0..6 {
            let later = self.millis(0..20_000);
            self.durable(at + later, None);
            // More than one page of them.
            let later = self.millis(0..10_000);
            self.captures(at + later, 50);
        }
        if self.rng.bool() {
            self.disk(at + lasts + SECOND * 2, DiskFault::Evicts, SECOND);
        }
        let later = self.millis(20_000..60_000);
        let down = self.down();
        self.add(at + lasts + later, Action::PowerLoss { down });
    }

    fn files_removed_in_an_outage(&mut self, at: Duration) {
        self.outage(at, SECOND * 120);
        for second in [4, 6, 8, 28, 30] {
            self.durable(at + SECOND * second, None);
            self.captures(at + SECOND * second, 3);
        }
        self.disk(at + SECOND * 10, DiskFault::FilesRemoved, SECOND);
        let later = self.millis(30_000..60_000);
        self.crash(at + later);
    }

    fn hanging_disk_with_durable_captures(&mut self, at: Duration) {
        let lasts = self.millis(1_000..60_000);
        self.disk(at, DiskFault::Hangs, lasts);
        for _ in 0..8 {
            let (later, time) = (self.millis(0..5_000), self.millis(1..1_900));
            let patience = [None, Some(Patience::Polls(1)), Some(Patience::Time(time))][self.rng.usize(..3)];
            self.durable(at + later, patience);
            self.captures(at + later, 2);
        }
    }

    /// Waiting events are on disk in time.
    fn killed_in_an_outage(&mut self, at: Duration) {
        self.outage(at, SECOND * 90);
        for second in 0..10 {
            self.captures(at + SECOND * second * 3, 2);
        }
        let later = self.millis(10_000..60_000);
        self.crash(at + later);
    }

    /// Events do not age by the jump of a clock, also not of one that was years behind.
    fn clock_jump_with_a_backlog(&mut self, at: Duration) {
        self.outage(at, SECOND * 150);
        for second in 0..10 {
            self.captures(at + SECOND * second * 2, 3);
        }
        let by = SECOND * 86_400 * [10, 400, 7_300][self.rng.usize(..3)];
        self.add(at + SECOND * 60, Action::ClockJump { forward: true, by });
        if self.rng.bool() {
            self.crash(at + SECOND * 90);
        }
        self.captures(at + SECOND * 100, 3);
    }

    /// Events that are older than the spool keeps them are not sent after a restart.
    fn backlog_that_is_too_old(&mut self, at: Duration) {
        let age = self.rng.u64(10..60);
        if let Some(spool) = &mut self.config.spool {
            spool.max_age = SECOND * u32::try_from(age).unwrap_or(60);
        }
        self.outage(at, SECOND * 175);
        self.captures(at + SECOND * 5, 20);
        self.captures(at + SECOND * 15, 5);
        self.crash(at + SECOND * 140);
    }

    fn newer_file(&mut self, at: Duration) {
        self.disk(at, DiskFault::NewerFile, SECOND);
    }

    /// The counts are on disk though nothing else is written.
    fn quiet_power_loss(&mut self, at: Duration) {
        self.captures(at, 20);
        let down = self.down();
        let later = self.millis(20_000..60_000);
        self.add(at + later, Action::PowerLoss { down });
    }

    /// Most of a damaged file can be read.
    fn damage_of_a_backlog(&mut self, at: Duration) {
        self.outage(at, SECOND * 120);
        for second in 0..5 {
            self.captures(at + SECOND * second, 40);
        }
        self.disk(at + SECOND * 30, DiskFault::ByteFlips, SECOND);
        let later = self.millis(30_010..40_000);
        self.crash(at + later);
    }

    /// A mistake in the service, one event a second. PostHog is well, and the search of each batch takes some requests.
    fn bad_event_in_each_batch(&mut self) {
        let settings = self.config.settings();
        if settings.rate < 20 || settings.queue_events < 2_000 {
            return;
        }
        self.steps.retain(|step| !matches!(step.action, Action::PostHog(_)));
        // Other refusals count as an outage of PostHog before they are understood.
        let provokes = [Provokes::BadRequest, Provokes::TooLarge][self.rng.usize(..2)];
        let bad = Make { kind: EventKind::Bad(provokes), is_typed: true, size: 100 };
        for second in 0..240 {
            let at = SECOND * (200 + second);
            self.captures(at, 4);
            self.add(at, Action::Capture { events: 1, make: bad });
            self.captures(at, 5);
        }
    }
}
