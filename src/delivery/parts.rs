use posthog_rs::Event;

use super::json::{self, NotWritten};

/// The members of an event that have no getter, as JSON: read from the event's own `Serialize`.
#[derive(Default)]
pub struct Parts {
    pub uuid: Vec<u8>,
    pub groups: Vec<u8>,
    /// `null` for an event without its own time.
    pub timestamp: Vec<u8>,
}

impl Parts {
    pub fn read(&mut self, event: &Event) -> Result<(), NotWritten> {
        let Self { uuid, groups, timestamp } = self;
        for (name, out) in [("uuid", uuid), ("groups", groups), ("timestamp", timestamp)] {
            out.clear();
            json::field(out, event, name)?;
        }
        Ok(())
    }
}
