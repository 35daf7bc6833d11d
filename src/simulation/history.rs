use std::fmt::Display;
use std::time::Duration;

use super::words::seconds;

/// How a history keeps its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    Forget,
    Keep,
    /// At once, so that the history of a seed that hangs can be read too.
    Print,
}

/// The events of a history, line by line, with a hash of all lines.
#[derive(Clone, Debug)]
pub struct History {
    hash: u64,
    mode: Lines,
    lines: Vec<String>,
    buffer: String,
}

impl History {
    pub fn new(mode: Lines) -> Self {
        Self { hash: FNV_OFFSET, mode, lines: Vec::new(), buffer: String::new() }
    }

    pub fn note(&mut self, at: Duration, text: impl Display) {
        use std::fmt::Write;
        self.buffer.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.buffer, "{:>10}  {text}", seconds(at));
        for byte in self.buffer.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        match self.mode {
            Lines::Forget => {}
            Lines::Keep => self.lines.push(self.buffer.clone()),
            Lines::Print => println!("{}", self.buffer),
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// [FNV-1a](http://www.isthe.com/chongo/tech/comp/fnv/), 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
