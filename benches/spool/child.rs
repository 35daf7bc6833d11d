//! Clients in processes of their own, whose memory is nobody else's. A child tells what it finds in a line of
//! JSON, waits for the end of its input, and ends as it should; or is killed.

use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use posthog_health::testing::FakePostHog;
use posthog_health::{PostHog, SpoolState};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::support::Arguments;
use crate::support::times::cpu_time;
use crate::{feed, health, is_ready, spool};

/// What a child finds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Until the spool was ready.
    pub(crate) opening: Duration,
    /// What the spool's health said at once.
    pub(crate) at_first: String,
    /// Until an event that was captured at once was on disk.
    pub(crate) first_durable: Duration,
    pub(crate) feeding: Duration,
    pub(crate) spooled: u64,
    pub(crate) queued: u64,
    pub(crate) event_bytes: u64,
    pub(crate) file_bytes: u64,
    /// Right after the feeding, and after a moment of rest.
    pub(crate) memory: u64,
    pub(crate) at_rest: u64,
    pub(crate) peak: u64,
    /// The share of a core in that moment.
    pub(crate) idle_cpu: f64,
}

/// A child that told.
pub(crate) struct Told {
    pub(crate) finding: Finding,
    child: Child,
}

impl Told {
    /// Starts a child that adds so many events to the spool in this directory.
    pub(crate) fn feeding(server: &str, directory: &Path, events: usize) -> Self {
        let program = env::current_exe().expect("a program");
        let mut child = Command::new(program)
            .args(["--bench", "--child", "feed", "--server", server, "--directory"])
            .arg(directory)
            .args(["--events", &events.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let finding = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the child said {line:?}"));
        Self { finding, child }
    }

    /// As `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// As a service ends.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("our own child");
    }
}

pub(crate) async fn run(task: &str, arguments: &Arguments) {
    assert_eq!(task, "feed");
    let value = |flag| arguments.value(flag).expect("all its arguments");
    let events: usize = value("--events").parse().expect("a number");
    let started = Instant::now();
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(value("--server"))
        .spool(spool(Path::new(value("--directory"))))
        .build()
        .expect("a good configuration");
    let at_first = name(health(&posthog).state);
    let (opened, first) = tokio::join!(
        async {
            is_ready(&posthog).await;
            started.elapsed()
        },
        async {
            feed(&posthog, 1, 1).await;
            started.elapsed()
        },
    );
    let feeding = Instant::now();
    feed(&posthog, 1_000, events - 1).await;
    let fed = feeding.elapsed();
    let memory = status("VmRSS");
    let (rest, before) = (Duration::from_secs(2), cpu_time());
    sleep(rest).await;
    let idle_cpu = (cpu_time() - before).as_secs_f64() / rest.as_secs_f64();
    let (spooled, spool) = (posthog.stats().spooled, health(&posthog));
    let finding = Finding {
        opening: opened,
        at_first,
        first_durable: first,
        feeding: fed,
        spooled,
        queued: posthog.stats().queued,
        event_bytes: spool.bytes,
        file_bytes: spool.file_bytes,
        memory,
        at_rest: status("VmRSS"),
        peak: status("VmHWM"),
        idle_cpu,
    };
    println!("{}", serde_json::to_string(&finding).expect("JSON"));
    let _ = stdin().read_to_end(&mut Vec::new());
    posthog.shutdown(Duration::from_secs(1)).await;
}

fn name(state: SpoolState) -> String {
    let json = serde_json::to_value(state).expect("JSON");
    json.as_str().unwrap_or_default().to_owned()
}

/// Bytes.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this bench needs Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of Linux");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib << 10
}
