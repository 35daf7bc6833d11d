//! The faults of PostHog and of the disk.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use crate::simulation::disk::Faults;
use crate::simulation::incidents::Incident;
use crate::simulation::plan::{DiskFault, DiskTrouble, Fault, Trouble};
use crate::simulation::service::NEWER_FILE;

impl Driver<'_> {
    pub fn trouble(&mut self, trouble: Trouble) {
        let state = &mut *self.world.lock();
        state.coverage.count("fault", trouble.fault.name());
        let until = Instant::now() + trouble.lasts;
        state.incidents.add(Incident::PostHog(trouble), until);
        state.troubles.push((trouble, until));
        if trouble.fault == Fault::TokenRotated {
            state.token += 1;
        }
    }

    pub fn disk_trouble(&mut self, DiskTrouble { fault, lasts }: DiskTrouble) {
        {
            let state = &mut *self.world.lock();
            state.coverage.count("disk fault", fault.name());
            state.incidents.add(Incident::Disk(fault), Instant::now() + lasts);
        }
        match fault {
            DiskFault::FilesRemoved => self.disk.lose_files(),
            DiskFault::Evicts => self.disk.evict(),
            DiskFault::NewerFile => self.leave_newer_file(),
            DiskFault::ByteFlips => {
                let flipped = self.disk.flip();
                self.world.note(format_args!("{flipped:?} is flipped"));
            }
            fault => {
                self.faults.push((fault, Instant::now() + lasts));
                self.set_faults();
            }
        }
    }

    pub fn set_faults(&mut self) {
        let mut faults = Faults::default();
        for (fault, _) in &self.faults {
            match *fault {
                DiskFault::Slow { millis } => faults.slow = Duration::from_millis(millis.into()),
                DiskFault::Hangs => faults.hangs = true,
                DiskFault::Fails => faults.fails = Some(std::io::ErrorKind::Other),
                DiskFault::ReadsFail => faults.reads_fail = true,
                DiskFault::Forgets => faults.forgets = true,
                DiskFault::IsFull => faults.is_full = true,
                _ => {}
            }
        }
        self.disk.set_faults(faults);
    }

    /// A process of a later version was here. Other faults of the disk do not concern it.
    fn leave_newer_file(&mut self) {
        self.disk.set_faults(Faults::default());
        if let Err(error) = self.disk.leave_newer_file(Path::new(NEWER_FILE)) {
            self.world.note(format_args!("no newer file: {error}"));
        }
        self.set_faults();
    }
}
