//! The deeds of the world, from which the rules derive their excuses.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::{DiskFault, Fault, Trouble};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Incident {
    /// PostHog, or the network before it, is in trouble.
    PostHog(Trouble),
    Disk(DiskFault),
    /// A second process works in the directory.
    Neighbour,
    /// Dead letters are sent again.
    Replay,
    /// The spool was full, so it took no more events.
    SpoolFull,
    ClockJump {
        forward: bool,
        by: Duration,
    },
    PowerLoss,
    /// A request took so long that the client gave it up.
    SlowRequest,
}

/// All incidents of a history, each with its beginning and end.
#[derive(Debug, Default)]
pub struct Incidents(Vec<(Incident, Instant, Instant)>);

impl Incidents {
    pub fn add(&mut self, incident: Incident, until: Instant) {
        self.0.push((incident, Instant::now(), until));
    }

    /// The same for an incident that has no duration and may come often. One of it is enough.
    pub fn add_once(&mut self, incident: Incident) {
        if !self.has(incident) {
            self.add(incident, Instant::now());
        }
    }

    pub fn has(&self, incident: Incident) -> bool {
        self.0.iter().any(|(other, ..)| *other == incident)
    }

    /// Whether the power failed in this time.
    pub fn power_was_lost(&self, from: Instant, until: Instant) -> bool {
        let is = |incident: &Incident| *incident == Incident::PowerLoss;
        self.0.iter().any(|(incident, at, _)| is(incident) && (from..until).contains(at))
    }

    fn troubles(&self) -> impl Iterator<Item = (Trouble, Instant, Instant)> + '_ {
        self.0.iter().filter_map(|(incident, begun, until)| match incident {
            Incident::PostHog(trouble) => Some((*trouble, *begun, *until)),
            _ => None,
        })
    }

    pub fn disk_faults(&self) -> impl Iterator<Item = (DiskFault, Instant, Instant)> + '_ {
        self.0.iter().filter_map(|(incident, begun, until)| match incident {
            Incident::Disk(fault) => Some((*fault, *begun, *until)),
            _ => None,
        })
    }

    pub fn posthog_was_well_since(&self, then: Instant) -> bool {
        self.troubles().all(|(.., until)| until < then)
    }

    pub fn posthog_was_troubled(&self) -> bool {
        self.troubles().next().is_some()
    }

    pub fn disk_was_troubled(&self) -> bool {
        self.disk_faults().any(|(fault, ..)| fault.troubles())
    }

    /// Since when the disk hangs, if it does.
    pub fn disk_hangs_since(&self) -> Option<Instant> {
        let now = Instant::now();
        let hangs = self.disk_faults().filter(|(fault, _, until)| *fault == DiskFault::Hangs && *until > now);
        hangs.map(|(_, begun, _)| begun).max()
    }

    /// Whether nothing has happened to the disk for so long.
    pub fn disk_was_well_for(&self, time: Duration) -> bool {
        let now = Instant::now();
        self.disk_faults().all(|(_, begun, until)| begun.max(until) + time <= now)
    }

    /// Whether nothing was wrong with the disk for so long before then.
    pub fn disk_was_well_before(&self, then: Instant, time: Duration) -> bool {
        let lasts = |fault: &DiskFault| fault.troubles() && *fault != DiskFault::ByteFlips;
        let mut troubles = self.disk_faults().filter(|(fault, ..)| lasts(fault));
        troubles.all(|(_, begun, until)| begun > then || begun.max(until) + time < then)
    }

    /// How often a byte flipped. `None` if files were removed, too.
    pub fn flips_only(&self) -> Option<usize> {
        let is = |wanted| self.disk_faults().filter(|(fault, ..)| *fault == wanted).count();
        (is(DiskFault::FilesRemoved) == 0).then_some(is(DiskFault::ByteFlips))
    }

    /// When somebody removed the files. `None` if something else was wrong with the disk, too.
    pub fn removals_only(&self) -> Option<Vec<Instant>> {
        let troubles = self.disk_faults().filter(|(fault, ..)| fault.troubles());
        troubles.map(|(fault, at, _)| (fault == DiskFault::FilesRemoved).then_some(at)).collect()
    }

    /// Everything that lasts ends now.
    pub fn end(&mut self) {
        let now = Instant::now();
        self.0.iter_mut().for_each(|(.., until)| *until = now.min(*until));
    }

    pub fn clock_jumped(&self) -> bool {
        self.jumps().next().is_some()
    }

    /// By how much the clock's jumps may age events. A jump that is longer than a pause between two processes may not.
    pub fn pauses_in_jumps(&self) -> Duration {
        let pauses = self.jumps().filter(|by| *by <= Duration::from_secs(365 * 86_400));
        pauses.sum()
    }

    fn jumps(&self) -> impl Iterator<Item = Duration> + '_ {
        self.0.iter().filter_map(|(incident, ..)| match incident {
            Incident::ClockJump { by, .. } => Some(*by),
            _ => None,
        })
    }

    /// Whether events that were on disk may be gone.
    pub fn disk_was_destroyed(&self) -> bool {
        self.disk_faults().any(|(fault, ..)| fault.destroys())
    }

    pub fn posthog_was_slow(&self) -> bool {
        let is_slow =
            |(trouble, ..): (Trouble, _, _)| matches!(trouble.fault, Fault::Slow { .. } | Fault::Hang);
        self.troubles().any(is_slow) || self.has(Incident::SlowRequest)
    }

    /// Whether something refused good events while others were accepted, so that they look like bad ones.
    pub fn looked_like_bad_events(&self) -> bool {
        self.troubles().any(|(trouble, begun, until)| {
            let is_partial =
                trouble.share < 100 || matches!(trouble.fault, Fault::BodyLimit { .. } | Fault::V1Drops);
            let overlaps = || {
                let overlapping = self.troubles().filter(|(_, b, u)| *b < until && begun < *u);
                overlapping.count() > 1
            };
            trouble.fault.refuses() && (is_partial || overlaps())
        })
    }
}
