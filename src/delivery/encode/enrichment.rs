use std::sync::OnceLock;

use memchr::memchr_iter;
use serde_json::Value;

/// The properties that every event gets unless it has its own, in the order in which [`Own`] counts them.
const NAMES: [&str; 6] = ["$lib", "$lib_version", "$os", "$os_version", "$is_server", "$geoip_disable"];

/// Those that an event has itself.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::delivery) struct Own(u8);

impl Own {
    /// Asks for each.
    pub(in crate::delivery) fn of(has: impl Fn(&str) -> bool) -> Self {
        let mut own = Self::default();
        NAMES.iter().filter(|name| has(name)).for_each(|name| own.add(name));
        own
    }

    /// Whether one of them may be a member in this JSON.
    pub(in crate::delivery) fn is_mentioned(json: &[u8]) -> bool {
        let named = |at: usize| NAMES.iter().any(|name| json[at..].starts_with(name.as_bytes()));
        memchr_iter(b'$', json).any(named)
    }

    /// Takes note of a property.
    pub(in crate::delivery) fn add(&mut self, property: &str) {
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
pub(super) struct Enrichment([Vec<u8>; NAMES.len()]);

impl Enrichment {
    pub(super) fn new(is_server: bool, geoip: bool) -> Self {
        let (os, os_version) = os();
        let values: [Option<Value>; NAMES.len()] = [
            Some("posthog-health".into()),
            Some(env!("CARGO_PKG_VERSION").into()),
            Some(os.as_str().into()),
            Some(os_version.as_str().into()),
            is_server.then(|| true.into()),
            (!geoip).then(|| true.into()),
        ];
        let mut all = NAMES.iter().zip(values);
        Self(std::array::from_fn(|_| match all.next() {
            Some((name, Some(value))) => format!("\"{name}\":{value},").into_bytes(),
            _ => Vec::new(),
        }))
    }

    /// Writes what the event has not, each with a comma behind it.
    pub(super) fn write(&self, out: &mut Vec<u8>, own: Own) {
        for (at, member) in self.0.iter().enumerate() {
            if !own.has(at) {
                out.extend_from_slice(member);
            }
        }
    }
}

/// The operating system as posthog-rs reports it. The first call may start a process (`lsb_release`), so it
/// is made where blocking is fine.
pub(crate) fn os() -> &'static (String, String) {
    static OS: OnceLock<(String, String)> = OnceLock::new();
    OS.get_or_init(|| {
        let info = os_info::get();
        (info.os_type().to_string(), info.version().to_string())
    })
}
