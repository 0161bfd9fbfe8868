//! What happened, as one number: the same seed must give the same. And its end, for people.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::limits::TRACE_TAIL;

/// FNV-1a over every line, and the last lines.
pub struct Trace {
    hash: u64,
    lines: u64,
    tail: VecDeque<String>,
    /// Whether every line is printed as it comes.
    loud: bool,
}

impl Trace {
    /// An empty trace.
    pub fn new(loud: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, tail: VecDeque::new(), loud }
    }

    /// Notes an event. Text that differs between machines, such as a path, has no place here.
    pub fn note(&mut self, at_ms: u64, event: std::fmt::Arguments<'_>) {
        let mut line = format!("{at_ms:>6} ");
        write!(line, "{event}").expect("writing to a string");
        for byte in line.as_bytes() {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.loud {
            println!("{line}");
        }
        self.tail.push_back(line);
        if self.tail.len() > TRACE_TAIL {
            self.tail.pop_front();
        }
    }

    /// The number that stands for everything noted, and how much that was.
    pub fn digest(&self) -> (u64, u64) {
        (self.hash, self.lines)
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("{line}\n")).collect()
    }
}
