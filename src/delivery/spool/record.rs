//! A record says what it is, and whether it is whole, without the file around it:
//!
//! ```text
//! magic 3 │ kind 1 │ seq 8 │ sequence 8 │ at 8 │ attempts 4 │ length 4 │ JSON │ crc32 4
//! ```
//!
//! Little endian; the checksum covers all before it. `sequence` rises with each commit.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No JSON holds the first byte: no UTF-8 does.
pub const MAGIC: [u8; 3] = [0xF5, b'P', b'H'];
pub const HEADER: usize = 36;
pub const OVERHEAD: usize = HEADER + CHECKSUM;
const CHECKSUM: usize = 4;

/// What a record's JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Event,
    DeadLetter,
    /// The counts of all other records. Its `seq` is the floor: no event below it was on disk when the record was written.
    State,
}

/// One record, read or to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    pub kind: Kind,
    pub seq: u64,
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    pub attempts: u32,
    pub json: &'a [u8],
}

impl<'a> Record<'a> {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.json.len() + OVERHEAD);
        bytes.extend(MAGIC);
        bytes.push(self.kind.code());
        bytes.extend(self.seq.to_le_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.at.to_le_bytes());
        bytes.extend(self.attempts.to_le_bytes());
        bytes.extend((self.json.len() as u32).to_le_bytes());
        bytes.extend(self.json);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The record that these bytes are, if they are one and it is whole.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if length(bytes)? != bytes.len() {
            return None;
        }
        let (body, checksum) = bytes.split_at_checked(bytes.len() - CHECKSUM)?;
        if crc32fast::hash(body).to_le_bytes() != checksum {
            return None;
        }
        Some(Self {
            kind: Kind::of(*body.get(3)?)?,
            seq: long(body, 4..12)?,
            sequence: long(body, 12..20)?,
            at: at(body)?,
            attempts: short(body, 28..32)?,
            json: body.get(HEADER..)?,
        })
    }

    /// The same, where it must be this one.
    pub fn expect(bytes: &'a [u8], kind: Kind, seq: u64) -> Option<Self> {
        Self::read(bytes).filter(|record| record.kind == kind && record.seq == seq)
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Event => b'E',
            Self::DeadLetter => b'D',
            Self::State => b'S',
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Event, Self::DeadLetter, Self::State].into_iter().find(|kind| kind.code() == code)
    }
}

/// Returns the length of the record that begins here. Returns `None` if none does, or if the bytes are too few.
pub fn length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    Kind::of(*bytes.get(3)?)?;
    (short(bytes, 32..36)? as usize).checked_add(OVERHEAD)
}

/// Returns when the event in this record was captured, without a check of the record. That is quicker for many records.
pub fn at(bytes: &[u8]) -> Option<u64> {
    long(bytes, 20..28)
}

/// Milliseconds since 1970. A clock before it reads as 1970.
pub fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

fn long(bytes: &[u8], range: Range<usize>) -> Option<u64> {
    bytes.get(range)?.try_into().ok().map(u64::from_le_bytes)
}

fn short(bytes: &[u8], range: Range<usize>) -> Option<u32> {
    bytes.get(range)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::event_json::write_v1;

    /// As 0.1 wrote it before there was capture V1: what V1 lifts is between other properties.
    #[test]
    fn a_record_of_an_earlier_version_is_an_event_for_v0_and_v1() {
        let event = concat!(
            r#"{"uuid":"018bcfe5-687b-7000-8000-000000000007","event":"order placed","distinct_id":"user-1","#,
            r#""properties":{"amount":9.5,"$window_id":"w-1","$session_id":"s \"1\"","$cookieless_mode":"yes","#,
            r#""$process_person_profile":true,"$lib":"posthog-health","$lib_version":"0.1.0","$os":"Debian","#,
            r#""$os_version":"12.0.0","$is_server":true,"$groups":{"company":"acme"}},"#,
            r#""timestamp":"2026-11-30T08:00:00.123456Z"}"#,
        );
        let header = *b"\xF5PHE\
            \x03\0\0\0\0\0\0\0\
            \x05\0\0\0\0\0\0\0\
            \x7B\xC8\x77\x2B\xA2\x01\0\0\
            \x01\0\0\0\
            \x8A\x01\0\0";
        let bytes = [&header[..], event.as_bytes(), b"\x1C\x60\xB1\xE7"].concat();
        let record = Record::expect(&bytes, Kind::Event, 3).unwrap();
        assert_eq!((record.sequence, record.at, record.attempts), (5, 1_796_025_600_123, 1));
        assert_eq!(record.json, event.as_bytes(), "V0 gets it as it is");

        let mut v1 = Vec::new();
        write_v1(record.json, &mut v1);
        let expected = json!({
            "uuid": "018bcfe5-687b-7000-8000-000000000007",
            "event": "order placed",
            "distinct_id": "user-1",
            "properties": {
                "amount": 9.5,
                "$lib": "posthog-health",
                "$lib_version": "0.1.0",
                "$os": "Debian",
                "$os_version": "12.0.0",
                "$is_server": true,
                "$groups": {"company": "acme"},
            },
            "timestamp": "2026-11-30T08:00:00.123456Z",
            "session_id": "s \"1\"",
            "window_id": "w-1",
            "options": {"process_person_profile": true},
        });
        assert_eq!(serde_json::from_slice::<Value>(&v1).unwrap(), expected);
    }
}
