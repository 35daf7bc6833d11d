//! Parts of a bench in processes of their own, whose time and memory are nobody else's: the same program again,
//! in a role. It tells what it finds in lines of JSON, and is told what to do in lines of words.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, fs};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Ends with its handle.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &str, arguments: &[(&str, &dyn Display)]) -> Self {
        let mut command = Command::new(env::current_exe().expect("a program"));
        command.args(["--bench", "--role", role]);
        arguments.iter().for_each(|(flag, value)| _ = command.arg(flag).arg(value.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    /// Starts one that does its work, tells, and ends.
    pub(crate) fn run<T: DeserializeOwned>(role: &str, arguments: &[(&str, &dyn Display)]) -> T {
        Self::start(role, arguments).told()
    }

    /// What it says next.
    pub(crate) fn told<T: DeserializeOwned>(&mut self) -> T {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("it said {line:?}: {error}"))
    }

    pub(crate) fn tell(&mut self, word: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{word}").expect("a living process");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says something to the one that started this process.
pub(crate) fn tell(found: &impl Serialize) {
    println!("{}", serde_json::to_string(found).expect("JSON"));
}

/// Waits for the one that started this process to say something.
pub(crate) fn wait() {
    stdin().read_line(&mut String::new()).expect("a pipe");
}

/// Memory of this process, in bytes: `VmRSS` now, `VmHWM` at its peak.
pub(crate) fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this bench needs Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of Linux");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib << 10
}
