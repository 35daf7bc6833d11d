//! Runs a scenario in processes of their own under valgrind's tools, and reads what they counted of the calls inside
//! `measured`.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs, thread};

use serde::Deserialize;

use crate::CALLS;

/// Of glibc: a thread's own store of freed memory has room for all. Otherwise what `free` does depends on the
/// history of the heap, and the counts differ by a tenth from run to run.
const STEADY_HEAP: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=65535");

/// Of one call.
pub(crate) struct Counted {
    pub(crate) instructions: u64,
    pub(crate) allocations: f64,
}

/// Fails early where there is no valgrind.
pub(crate) fn version() -> String {
    let output = Command::new("valgrind").arg("--version").output();
    let output = output.expect("this bench needs valgrind: `apt-get install valgrind`");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn count(scenario: &str, side: &str) -> Counted {
    let (instructions, allocations) = thread::scope(|scope| {
        let allocations = scope.spawn(|| allocations(scenario, side));
        (instructions(scenario, side), allocations.join().expect("an end"))
    });
    assert!(instructions > 0, "{scenario} {side}: callgrind found no function `measured`");
    Counted { instructions: instructions / CALLS as u64, allocations: allocations as f64 / CALLS as f64 }
}

/// Callgrind counts a thread while that is inside the function.
fn instructions(scenario: &str, side: &str) -> u64 {
    let profile = run("callgrind", &["--toggle-collect=*measured*"], scenario, side);
    let total = profile.lines().find_map(|line| line.strip_prefix("totals:"));
    total.and_then(|total| total.trim().parse().ok()).unwrap_or(0)
}

/// Of all allocations that dhat saw, those that came from inside the function, however deep.
fn allocations(scenario: &str, side: &str) -> u64 {
    let profile = run("dhat", &["--num-callers=100"], scenario, side);
    let profile: Profile = serde_json::from_str(&profile).expect("JSON of dhat");
    let names = profile.ftbl.iter().enumerate();
    let inside: HashSet<usize> =
        names.filter(|(_, name)| name.contains("measured")).map(|(at, _)| at).collect();
    let from_inside = |point: &&Point| point.fs.iter().any(|frame| inside.contains(frame));
    profile.pps.iter().filter(from_inside).map(|point| point.tbk).sum()
}

/// What dhat writes: names of frames, and where was allocated.
#[derive(Deserialize)]
struct Profile {
    ftbl: Vec<String>,
    pps: Vec<Point>,
}

/// A stack, and how often it allocated.
#[derive(Deserialize)]
struct Point {
    tbk: u64,
    fs: Vec<usize>,
}

fn run(tool: &str, options: &[&str], scenario: &str, side: &str) -> String {
    let file = format!("{tool}.{}", std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let output = Command::new("valgrind")
        .arg(format!("--tool={tool}"))
        .arg(format!("--{tool}-out-file={}", file.display()))
        .args(options)
        .arg(env::current_exe().expect("a program"))
        .args(["--bench", "--scenario", scenario, side])
        .env(STEADY_HEAP.0, STEADY_HEAP.1)
        .output()
        .expect("valgrind");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario} {side}: {complaints}");
    let profile = fs::read_to_string(&file).expect("a file of valgrind's");
    let _ = fs::remove_file(&file);
    profile
}
