use std::sync::{Once, OnceLock};

use serde_json::Value;

use crate::rt::simulated;

/// The properties that every event gets unless it has its own, in the order in which [`Own`] counts them.
const NAMES: [&str; 9] = [
    "$lib",
    "$lib_version",
    "$lib_version__major",
    "$lib_version__minor",
    "$lib_version__patch",
    "$os",
    "$os_version",
    "$is_server",
    "$geoip_disable",
];

/// Those that an event has itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own(u16);

impl Own {
    /// Whether this text begins with the name of one.
    pub fn begins(text: &[u8]) -> bool {
        NAMES.iter().any(|name| text.starts_with(name.as_bytes()))
    }

    /// Takes note of a property as it is written.
    pub fn add(&mut self, property: &str) {
        if property.starts_with('$')
            && let Some(at) = NAMES.iter().position(|name| *name == property)
        {
            // The parts of our version do not fit another version.
            self.0 |= if property == "$lib_version" { 0b1111 << at } else { 1 << at };
        }
    }

    fn has(self, at: usize) -> bool {
        self.0 & (1 << at) != 0
    }
}

/// What is added to events, as members in JSON.
#[derive(Debug)]
pub struct Enrichment {
    is_server: bool,
    geoip: bool,
    /// While the operating system's name is not known.
    at_first: Members,
    complete: OnceLock<Members>,
}

#[derive(Debug)]
struct Members {
    /// One for each of [`NAMES`], with a comma behind it; empty where nothing is added.
    each: [Vec<u8>; NAMES.len()],
    /// All of them, for the many events that have none of their own.
    all: Vec<u8>,
}

impl Enrichment {
    pub fn new(is_server: bool, geoip: bool) -> Self {
        let complete = OnceLock::new();
        if simulated::is_on() {
            // The answer would come in real time.
            let _ = complete.set(members(is_server, geoip, "simulated", Some("1")));
        } else {
            find_os();
        }
        let at_first = members(is_server, geoip, std::env::consts::OS, None);
        Self { is_server, geoip, at_first, complete }
    }

    /// Writes what the event has not, each with a comma behind it.
    pub fn write(&self, out: &mut Vec<u8>, own: Own) {
        let members = self.members();
        if own.0 == 0 {
            return out.extend_from_slice(&members.all);
        }
        for (at, member) in members.each.iter().enumerate() {
            if !own.has(at) {
                out.extend_from_slice(member);
            }
        }
    }

    fn members(&self) -> &Members {
        if let Some(complete) = self.complete.get() {
            return complete;
        }
        match OS.get() {
            Some((os, version)) => {
                self.complete.get_or_init(|| members(self.is_server, self.geoip, os, Some(version)))
            }
            None => &self.at_first,
        }
    }
}

fn members(is_server: bool, geoip: bool, os: &str, os_version: Option<&str>) -> Members {
    let part = |part: &str| part.parse::<u64>().ok().map(Value::from);
    let values: [Option<Value>; NAMES.len()] = [
        Some("posthog-health".into()),
        Some(env!("CARGO_PKG_VERSION").into()),
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
        Some(os.into()),
        os_version.map(Value::from),
        is_server.then(|| true.into()),
        (!geoip).then(|| true.into()),
    ];
    let mut named = NAMES.iter().zip(values);
    let each: [Vec<u8>; NAMES.len()] = std::array::from_fn(|_| match named.next() {
        Some((name, Some(value))) => format!("\"{name}\":{value},").into_bytes(),
        _ => Vec::new(),
    });
    let all = each.concat();
    Members { each, all }
}

/// The operating system and its version as posthog-rs reports them, once they are known.
static OS: OnceLock<(String, String)> = OnceLock::new();

/// Asks for the operating system, once a process and in a thread of its own: asking may start another process
/// (`lsb_release`), which a caller must not wait for, and the runtime's blocking threads may all be taken for long.
fn find_os() {
    static ASKED: Once = Once::new();
    let ask = || {
        let info = os_info::get();
        let _ = OS.set((info.os_type().to_string(), info.version().to_string()));
    };
    ASKED.call_once(|| {
        // Without a thread, events keep the name that they have at first.
        let _ = std::thread::Builder::new().name("posthog-health-os".into()).spawn(ask);
    });
}

#[cfg(test)]
pub fn wait_for_os() -> &'static (String, String) {
    find_os();
    OS.wait()
}

#[cfg(test)]
pub fn at_first() -> String {
    String::from_utf8(Enrichment::new(true, true).at_first.all).unwrap_or_default()
}
