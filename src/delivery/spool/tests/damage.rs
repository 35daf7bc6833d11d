//! A small file with any byte changed, or cut off anywhere.

use std::collections::BTreeSet;
use std::io::Cursor;

use super::disk::Disk;
use super::{WIDE, at, drain, json, letter, put, stored};
use crate::delivery::ledger::Totals;
use crate::delivery::spool::changes::{Changes, Contents, Held, StoreError};
use crate::delivery::spool::record::{Kind, Record, length};
use crate::delivery::spool::salvage::salvage;
use crate::delivery::spool::state::State;
use crate::delivery::spool::store::Store;

/// Events 2 to 11 and the dead letters 0 and 50 are alive; 1 was delivered.
fn file() -> Vec<u8> {
    let disk = Disk::default();
    let (mut store, _) = Store::open(disk.backend(), WIDE, Held::default()).unwrap();
    let mut captured = Totals { captured: 7, ..Totals::default() };
    store.apply(&Changes { totals: captured, ..put(0..7) }, at(1000), None).unwrap();
    captured.captured = 13;
    captured.delivered = 1;
    let dead_letter = vec![(0, letter(0)), (50, letter(50))];
    let changes = Changes { totals: captured, settle: vec![1], dead_letter, ..put(7..12) };
    store.apply(&changes, at(1000), None).unwrap();
    drop(store);
    disk.bytes()
}

/// As the directory does it. Panics on anything that was never written.
fn open(bytes: Vec<u8>) -> (BTreeSet<u64>, Contents, bool) {
    let disk = Disk::holding(bytes.clone());
    let (mut store, contents, salvaged) = match Store::open(disk.backend(), WIDE, Held::default()) {
        Ok((store, contents)) => (store, contents, false),
        Err(StoreError::Damaged(_)) => {
            let disk = Disk::default();
            let (mut store, _) = Store::open(disk.backend(), WIDE, Held::default()).unwrap();
            salvage(&mut Cursor::new(&bytes), &mut store, || None).unwrap();
            drop(store);
            let (store, contents) = Store::open(disk.backend(), WIDE, Held::default()).unwrap();
            (store, contents, true)
        }
        Err(error) => panic!("{error:?}"),
    };
    let events = drain(&mut store);
    for event in &events {
        assert_eq!(*event, stored(event.seq, 1000));
    }
    for (seq, dead) in &contents.dead {
        assert_eq!(dead.event, letter(*seq).event);
    }
    let found: BTreeSet<u64> = events.iter().map(|event| event.seq).collect();
    let Contents { totals, dead, .. } = &contents;
    let on_disk = (found.len() + dead.len()) as u64;
    // What cannot be read is told by the next transaction.
    let applied = store.apply(&Changes { totals: *totals, ..Changes::default() }, at(1000), None).unwrap();
    let known = totals.delivered + totals.dropped.total() + on_disk + applied.damaged;
    assert_eq!(totals.captured, known);
    (found, contents, salvaged)
}

/// Whole records of events in these bytes, wherever they are.
fn whole(bytes: &[u8], seq: u64) -> bool {
    let event = stored(seq, 1000);
    let starts = (0..bytes.len()).filter(|start| bytes[*start..].starts_with(&[0xF5, b'P', b'H', b'E']));
    starts.into_iter().any(|start| {
        let length = length(&bytes[start..]);
        let record = length.and_then(|length| bytes.get(start..start + length)).and_then(Record::read);
        record.is_some_and(|record| record.seq == seq && record.json == event.json)
    })
}

#[test]
fn a_whole_file_is_as_it_was() {
    let (found, contents, salvaged) = open(file());
    assert!(found.into_iter().eq(2..12) && !salvaged);
    assert_eq!(contents.dead.len(), 2);
}

#[test]
fn whatever_byte_is_wrong_the_events_that_are_whole_are_there() {
    let file = file();
    assert!(flip(&file, places(&file), &[0xFF]) > 100);
}

#[test]
fn wherever_a_file_ends_the_events_before_it_are_there() {
    let file = file();
    cut(&file, places(&file).filter(|place| place % 2 == 0));
}

/// Takes minutes.
#[test]
#[ignore = "the same as the two above without gaps; run it in release"]
fn whatever_byte_is_wrong_and_wherever_a_file_ends_without_gaps() {
    let file = file();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let (file, places) = (&file, (first..file.len()).step_by(threads));
            scope.spawn(move || {
                flip(file, places.clone(), &[0x01, 0x80, 0xFF]);
                cut(file, places);
            });
        }
    });
}

#[test]
fn a_record_with_any_other_byte_is_none() {
    let event = stored(7, 1000);
    let kind = Kind::Event;
    let bytes = Record { kind, seq: 7, sequence: 3, at: 1000, attempts: 2, json: &event.json }.to_bytes();
    assert!(Record::read(&bytes).is_some());
    for offset in 0..bytes.len() {
        for bits in 1..=0xFF {
            let mut damaged = bytes.clone();
            damaged[offset] ^= bits;
            assert_eq!(Record::read(&damaged), None, "{bits:#x} at {offset}");
        }
        assert_eq!(Record::read(&bytes[..offset]), None);
    }
}

/// How often it had to be salvaged.
fn flip(file: &[u8], places: impl Iterator<Item = usize>, values: &[u8]) -> usize {
    let mut salvaged = 0;
    for offset in places {
        for bits in values {
            let mut damaged = file.to_vec();
            damaged[offset] ^= bits;
            let (found, contents, was_salvaged) = open(damaged.clone());
            salvaged += usize::from(was_salvaged);
            for seq in (2..12).filter(|seq| !found.contains(seq)) {
                assert!(!whole(&damaged, seq), "{seq} is lost by {bits:#x} at {offset}");
            }
            assert!(contents.dead.len() + found.len() >= 11, "{bits:#x} at {offset}: {found:?}");
        }
    }
    salvaged
}

fn cut(file: &[u8], places: impl Iterator<Item = usize>) {
    for len in places {
        let cut = file[..len].to_vec();
        let (found, ..) = open(cut.clone());
        for seq in (2..12).filter(|seq| !found.contains(seq)) {
            assert!(!whole(&cut, seq), "{seq} is lost at {len}");
        }
    }
}

/// The database's header, the beginning of each page, and samples of the rest.
fn places(file: &[u8]) -> impl Iterator<Item = usize> {
    (0..file.len()).filter(|at| *at < 320 || at % 4096 < 12 || at.is_multiple_of(131))
}

#[test]
fn salvage_finds_records_across_its_windows_and_none_in_noise() {
    let mut noise = fastrand::Rng::with_seed(7);
    let mut bytes = Vec::new();
    let mut expected = BTreeSet::new();
    for seq in 0..200 {
        bytes.extend((0..noise.usize(0..3000)).map(|_| if noise.u8(..) < 40 { 0xF5 } else { noise.u8(..) }));
        // Claims to be longer than all that follows.
        bytes.extend(b"\xF5PHE");
        bytes.extend([0xFF; 28]);
        bytes.extend((1_u32 << 20).to_le_bytes());
        let json = json(seq, if seq % 50 == 0 { 200_000 } else { noise.usize(0..2000) });
        let kind = Kind::Event;
        bytes.extend(Record { kind, seq, sequence: 1, at: 5, attempts: 0, json: &json }.to_bytes());
        expected.insert((seq, json));
    }
    let (mut store, _) = Store::open(Disk::default().backend(), WIDE, Held::default()).unwrap();
    salvage(&mut Cursor::new(&bytes), &mut store, || None).unwrap();
    store.release(&(0..200).collect::<Vec<_>>());
    let found = drain(&mut store).into_iter().map(|event| (event.seq, event.json)).collect();
    assert_eq!(expected, found);
}

#[test]
fn salvage_leaves_what_was_delivered_and_takes_what_came_back_below_the_floor() {
    let kind = Kind::Event;
    let record = |seq, sequence| {
        let json = &json(seq, 10);
        Record { kind, seq, sequence, at: 5, attempts: 0, json }.to_bytes()
    };
    let totals = Totals { captured: 9, delivered: 6, ..Totals::default() };
    let old = State { sequence: 4, totals: Totals { captured: 4, ..totals }, ..State::default() };
    let newest = State { sequence: 5, totals, ..State::default() };
    let bytes = [
        record(9, 4),
        old.to_bytes(2),
        newest.to_bytes(10),
        old.to_bytes(2),
        record(10, 5),
        record(11, 4),
        // A dead letter that was sent again in a commit whose numbers are lost.
        record(3, 6),
    ];
    let target = Disk::default();
    let (mut store, _) = Store::open(target.backend(), WIDE, Held::default()).unwrap();
    salvage(&mut Cursor::new(bytes.concat()), &mut store, || None).unwrap();
    drop(store);
    let (mut store, contents) = Store::open(target.backend(), WIDE, Held::default()).unwrap();
    assert_eq!(super::seqs(&drain(&mut store)), [3, 10, 11]);
    assert_eq!(contents.totals, totals);
}

#[test]
fn salvage_leaves_the_disk_to_others() {
    let json = &json(1, 10);
    let record = Record { kind: Kind::Event, seq: 1, sequence: 1, at: 5, attempts: 0, json }.to_bytes();
    let (mut store, _) = Store::open(Disk::default().backend(), WIDE, Held::default()).unwrap();
    let error = salvage(&mut Cursor::new(record), &mut store, || Some(0)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}
