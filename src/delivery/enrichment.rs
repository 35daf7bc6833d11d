use std::sync::{Once, OnceLock};

use memchr::memchr_iter;
use serde_json::Value;

use crate::rt::simulated;

/// The properties that every event gets unless it has its own, in the order in which [`Own`] counts them.
const NAMES: [&str; 6] = ["$lib", "$lib_version", "$os", "$os_version", "$is_server", "$geoip_disable"];

/// Those that an event has itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own(u8);

impl Own {
    /// Asks for each.
    pub fn of(has: impl Fn(&str) -> bool) -> Self {
        let mut own = Self::default();
        NAMES.iter().filter(|name| has(name)).for_each(|name| own.add(name));
        own
    }

    /// Whether one of them may be a member in this JSON.
    pub fn is_mentioned(json: &[u8]) -> bool {
        let named = |at: usize| NAMES.iter().any(|name| json[at..].starts_with(name.as_bytes()));
        memchr_iter(b'$', json).any(named)
    }

    /// Takes note of a property as it is written. Every property passes here, so this is where another kind of
    /// property would be noticed too.
    pub fn add(&mut self, property: &str) {
        if property.starts_with('$')
            && let Some(at) = NAMES.iter().position(|name| *name == property)
        {
            self.0 |= 1 << at;
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

/// One for each of [`NAMES`], with a comma behind it; empty where nothing is added.
type Members = [Vec<u8>; NAMES.len()];

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
        for (at, member) in self.members().iter().enumerate() {
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
    let values: [Option<Value>; NAMES.len()] = [
        Some("posthog-health".into()),
        Some(env!("CARGO_PKG_VERSION").into()),
        Some(os.into()),
        os_version.map(Value::from),
        is_server.then(|| true.into()),
        (!geoip).then(|| true.into()),
    ];
    let mut all = NAMES.iter().zip(values);
    std::array::from_fn(|_| match all.next() {
        Some((name, Some(value))) => format!("\"{name}\":{value},").into_bytes(),
        _ => Vec::new(),
    })
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
    String::from_utf8(Enrichment::new(true, true).at_first.concat()).unwrap_or_default()
}
