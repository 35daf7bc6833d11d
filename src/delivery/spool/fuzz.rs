//! Records on disk, whatever became of them there.

use std::io::{self, Cursor, Read};

use bolero::check;

use super::record::{Kind, Record, length};
use super::salvage::scan;
use super::state::State;
use crate::delivery::dead_letter::DeadLetter;
use crate::fuzz::{ROUNDS, fields, number};

fn record(kind: Kind, input: &[u8]) -> Vec<u8> {
    let [seq, sequence, at, attempts, json] = fields(input);
    let [seq, sequence, at] = [seq, sequence, at].map(number);
    let attempts = number(attempts) as u32;
    Record { kind, seq, sequence, at, attempts, json }.to_bytes()
}

/// Where, what, and the five fields of a record.
#[test]
fn damage() {
    check!(name = "damage").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        if let Some(found) = Record::read(input) {
            assert_eq!(found.to_bytes(), input);
        }
        let [at, with, rest] = fields(input);
        let good = record(Kind::Event, rest);
        let whole = Record::read(&good).unwrap();
        assert_eq!(whole.to_bytes(), good);
        assert_eq!(length(&good), Some(good.len()));

        // Up to four bytes in a row: what a CRC-32 is sure to see.
        let at = number(at) as usize % good.len();
        let mut damaged = good.clone();
        damaged.iter_mut().skip(at).zip(with.iter().take(4)).for_each(|(byte, with)| *byte ^= with);
        assert!(damaged == good || Record::read(&damaged).is_none());
        assert_eq!(Record::read(&good[..at]), None, "cut off");
        assert_eq!(Record::read(&[&good, &b"x"[..]].concat()), None);
    });
}

/// Parts of a damaged file: those after a `#` are the fields of a record.
#[test]
fn salvage() {
    check!(name = "salvage").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let (mut file, mut placed) = (Vec::new(), Vec::new());
        for part in input.split(|byte| *byte == b'\n') {
            match part.strip_prefix(b"#") {
                Some(fields) => {
                    let record = record(Kind::Event, fields);
                    file.extend(&record);
                    placed.push(record);
                }
                None => file.extend(part),
            }
        }
        let found = found(&mut Cursor::new(&file));
        assert_eq!(found, self::found(&mut Trickle(&file)), "whatever pieces it is read in");
        for record in &found {
            assert!(file.windows(record.len()).any(|bytes| bytes == record), "made up");
        }
        // One may lie within another, as its JSON.
        let has = |record: &Vec<u8>| {
            found.iter().any(|found| found.windows(record.len()).any(|bytes| bytes == record))
        };
        assert!(placed.iter().all(has), "lost");
    });
}

fn found(file: &mut impl Read) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    scan(file, |record| {
        found.push(record.to_bytes());
        Ok(())
    })
    .unwrap();
    found
}

/// A few bytes at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let few = into.len().min(7);
        self.0.read(&mut into[..few])
    }
}

/// How many dead letters there are, and the fields of a record.
#[test]
fn state() {
    check!(name = "state").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [dead, rest] = fields(input);
        let dead = number(dead) % (1 << 40);
        let bytes = record(Kind::State, rest);
        let read = Record::read(&bytes).unwrap();
        let Some(state) = State::read(&read) else { return };
        let again = state.to_bytes(read.seq);
        assert_eq!(State::read(&Record::read(&again).unwrap()), Some(state));
        let totals = state.reconciled(dead);
        let elsewhere = totals.delivered + totals.dropped.total();
        assert_eq!(totals.captured, elsewhere + state.events + dead, "{state:?}");
        assert!(totals.captured >= state.totals.captured && totals.delivered <= state.totals.delivered);
    });
}

#[test]
fn dead_letter() {
    check!(name = "dead_letter").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let Some(letter) = DeadLetter::from_json(7, input) else { return };
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&letter.event).is_ok());
        let json = serde_json::to_vec(&letter).unwrap();
        let again = DeadLetter::from_json(7, &json).unwrap();
        assert_eq!((&again.event, again.kind, again.status), (&letter.event, letter.kind, letter.status));
        assert_eq!((&again.answer, json), (&letter.answer, serde_json::to_vec(&again).unwrap()));
    });
}
