//! What is left of us when we have ended.

use std::fs;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::PATIENCE;

/// Tasks of the runtime, threads and open files of the process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    tasks: usize,
    threads: usize,
    files: usize,
}

impl Left {
    pub(crate) fn now() -> Self {
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            threads: entries("task"),
            files: entries("fd"),
        }
    }

    /// Waits until no more is left than was there.
    pub(crate) async fn comes_back(&self) {
        let back = async {
            while Self::now().is_more_than(self) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, back).await.unwrap_or_else(|_| panic!("{:?} are left of {self:?}", Self::now()));
    }

    fn is_more_than(&self, other: &Self) -> bool {
        self.tasks > other.tasks || self.threads > other.threads || self.files > other.files
    }
}

/// 0 where the system has no such directory.
fn entries(of: &str) -> usize {
    fs::read_dir(format!("/proc/self/{of}")).map_or(0, Iterator::count)
}

/// Memory may not grow by more than this after the first third: the queues' bounds, what the allocator keeps for each
/// thread, and the server's list of uuids. A hundred bytes lost with each call would be more.
const GROWTH: u64 = 64 << 20;

pub(crate) async fn memory(length: Duration) {
    sleep(length / 3).await;
    let early = resident();
    sleep(length - length / 3).await;
    let late = resident();
    println!("memory: {} MiB after a third, {} MiB at the end", early >> 20, late >> 20);
    assert!(late <= early + GROWTH, "{early} bytes have become {late}");
}

/// In bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}
