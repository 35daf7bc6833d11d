//! How long calls take.

use std::fs;
use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

/// Sleeping is not exact enough for less than this.
const SLEEPS: Duration = Duration::from_micros(500);

/// Nanoseconds of each call.
#[derive(Default)]
pub(crate) struct Times(Vec<u64>);

impl Times {
    pub(crate) fn time(&mut self, call: impl FnOnce()) {
        let started = Instant::now();
        call();
        self.add(started.elapsed());
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn percentile(&self, share: f64) -> u64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * share).round() as usize]
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64 / self.0.len() as f64
    }
}

/// Returns at that moment, or at once.
pub(crate) fn wait_until(due: Instant) {
    let left = || due.saturating_duration_since(Instant::now());
    if left() >= SLEEPS {
        thread::sleep(left());
    }
    while !left().is_zero() {
        spin_loop();
    }
}

/// What timing nothing reads.
pub(crate) fn clock() -> String {
    let mut times = Times::default();
    (0..100_000).for_each(|_| times.time(|| {}));
    format!("{} ns", times.percentile(0.5))
}

/// CPU time of this process's living threads, without those of the fake servers. `/proc/self/stat` has it
/// too, in steps of 10 ms and with the servers; threads that ended are in neither's way here.
pub(crate) fn cpu_time() -> Duration {
    cpu_time_of(|_| true)
}

/// The same without the main thread's.
pub(crate) fn cpu_time_behind() -> Duration {
    let main = std::process::id().to_string();
    cpu_time_of(|task| task != main)
}

fn cpu_time_of(counts: impl Fn(&str) -> bool) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("this bench needs Linux");
    let of_task = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).ok();
        let name = read("comm")?;
        let time: u64 = read("schedstat")?.split_whitespace().next()?.parse().ok()?;
        let is_counted = name.trim() != "fake-posthog" && counts(task.file_name().to_str()?);
        is_counted.then(|| Duration::from_nanos(time))
    };
    tasks.flatten().filter_map(of_task).sum()
}
