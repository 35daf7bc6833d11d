use std::time::Duration;

use super::disk::{Disk, Survives};
use super::{WIDE, at, drain, letter, put, seqs, set_version, stored};
use crate::delivery::ledger::{DropReason, Totals};
use crate::delivery::spool::changes::{Changes, Contents, Held, StoreError};
use crate::delivery::spool::store::Store;

fn open(disk: &Disk) -> (Store, Contents) {
    Store::open(disk.backend(), WIDE, Held::default()).unwrap()
}

fn apply(store: &mut Store, changes: &Changes) {
    assert_eq!(store.apply(changes, at(1000), None).unwrap().written, changes.put.len());
}

#[test]
fn what_was_acknowledged_survives_any_power_cut() {
    for survives in [Survives::All, Survives::Nothing, Survives::Some(1), Survives::Some(2)] {
        for cut in (0..80).step_by(3) {
            let disk = Disk::default();
            let (mut store, _) = open(&disk);
            apply(&mut store, &put(0..10));
            disk.fail_after(cut);
            let mut acknowledged = 10;
            for chunk in 1..6 {
                let settle = (chunk * 10 - 10..chunk * 10 - 5).collect();
                let changes = Changes { settle, ..put(chunk * 10..chunk * 10 + 10) };
                match store.apply(&changes, at(1000), None) {
                    Ok(_) => acknowledged = chunk * 10 + 10,
                    Err(_) => break,
                }
            }
            drop(store);
            disk.restart(survives);
            let (mut store, _) = open(&disk);
            let events = drain(&mut store);
            assert!(events.iter().all(|event| *event == stored(event.seq, 1000)));
            let expected =
                |chunks: u64| (0..chunks * 10).filter(move |n| n % 10 >= 5 || n / 10 + 1 == chunks);
            let chunks = acknowledged / 10;
            let is = |chunks| seqs(&events).into_iter().eq(expected(chunks));
            assert!(is(chunks) || is(chunks + 1), "{acknowledged}: {:?}", seqs(&events));
        }
    }
}

#[test]
fn what_memory_lost_counts_as_crashed_and_what_lies_here_again_as_undelivered() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    let mut totals = Totals { captured: 10, delivered: 2, ..Totals::default() };
    totals.dropped.add(DropReason::NoName, 1);
    let dead_letter = vec![(100, letter(100))];
    apply(&mut store, &Changes { totals, dead_letter, ..put(0..4) });
    drop(store);

    let (mut store, contents) = open(&disk);
    assert_eq!(contents.totals.dropped.count(DropReason::Crash), 2);
    assert_eq!((contents.totals.captured, contents.totals.delivered), (10, 2));
    assert_eq!(contents.last, Some(100));

    totals = Totals { captured: 6, delivered: 3, ..Totals::default() };
    apply(&mut store, &Changes { totals, ..Changes::default() });
    drop(store);
    let (mut store, contents) = open(&disk);
    assert_eq!(contents.totals, Totals { captured: 6, delivered: 1, ..Totals::default() });

    apply(&mut store, &Changes::default());
    drop(store);
    assert_eq!(open(&disk).1.totals, Totals { captured: 5, ..Totals::default() });
}

#[test]
fn a_record_that_cannot_be_read_is_removed_and_counted_once() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    let totals = Totals { captured: 3, ..Totals::default() };
    apply(&mut store, &Changes { totals, ..put([1]) });
    // Large enough to be in no cache any more by the time it is read.
    let large = Changes {
        totals,
        put: vec![super::Stored { json: super::json(2, 5 << 20), ..stored(2, 7) }],
        ..Changes::default()
    };
    apply(&mut store, &large);
    apply(&mut store, &Changes { totals, ..put([3]) });
    store.release(&[1, 2, 3]);
    let bytes = disk.bytes();
    let needle = br#"{"event":"e2""#;
    for offset in 0..bytes.len() - needle.len() {
        if bytes[offset..].starts_with(needle) {
            disk.flip(offset + 12, 0xFF);
        }
    }
    assert_eq!(seqs(&drain(&mut store)), [1, 3]);
    assert_eq!(store.fill().events, 3);
    let applied = store.apply(&Changes { totals, ..Changes::default() }, at(1000), None).unwrap();
    assert_eq!((applied.damaged, store.fill().events), (1, 2));
    assert_eq!(store.apply(&Changes { totals, ..Changes::default() }, at(1000), None).unwrap().damaged, 0);
}

#[test]
fn attempts_end_with_their_event() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    apply(&mut store, &Changes { attempts: vec![(1, 3), (9, 9)], ..put([1, 2]) });
    store.release(&[1, 2]);
    assert_eq!(drain(&mut store).iter().map(|event| event.attempts).collect::<Vec<_>>(), [3, 0]);
    apply(&mut store, &Changes { settle: vec![1], ..Changes::default() });
    apply(&mut store, &put([1, 9]));
    store.release(&[1, 9]);
    assert_eq!(drain(&mut store).iter().map(|event| event.attempts).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn a_later_format_is_left_alone() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    apply(&mut store, &put(0..3));
    drop(store);
    let set = |version| set_version(redb::Database::builder().create_with_backend(disk.clone()), version);
    set(2);
    assert!(matches!(Store::open(disk.backend(), WIDE, Held::default()), Err(StoreError::Newer)));
    set(1);
    assert_eq!(drain(&mut open(&disk).0).len(), 3);
}

#[test]
fn a_foreign_database_is_no_spool() {
    let disk = Disk::default();
    let db = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(db);
    assert!(matches!(Store::open(disk.backend(), WIDE, Held::default()), Err(StoreError::Damaged(_))));
}

#[test]
fn an_emptied_file_is_compacted_and_a_full_one_is_not() {
    let disk = Disk::default();
    let (mut store, _) = open(&disk);
    apply(&mut store, &put(0..20_000));
    assert!(!store.compact_if_worth_it().unwrap());
    let full = store.fill().file_bytes;
    assert!(full > 2 << 20);
    apply(&mut store, &Changes { settle: (0..20_000).collect(), ..Changes::default() });
    assert!(store.compact_if_worth_it().unwrap());
    assert!(store.fill().file_bytes < full / 4);
    assert_eq!(store.fill().file_bytes, disk.bytes().len() as u64);
    assert!(!store.compact_if_worth_it().unwrap());
}

#[test]
fn what_is_too_old_goes_and_what_a_clock_puts_in_the_future_stays() {
    let disk = Disk::default();
    let bounds = super::Bounds { age: Duration::from_secs(1), ..WIDE };
    let (mut store, _) = Store::open(disk.backend(), bounds, Held::default()).unwrap();
    let put = vec![stored(1, 1000), stored(2, 1500), stored(3, 9000)];
    apply(&mut store, &Changes { put, ..Changes::default() });
    let expired = |store: &mut Store, now| store.apply(&Changes::default(), at(now), None).unwrap().expired;
    assert_eq!(expired(&mut store, 5000), 0, "held");
    store.release(&[1, 2, 3]);
    assert_eq!(expired(&mut store, 2000), 0);
    assert_eq!(expired(&mut store, 2001), 1);
    assert_eq!(expired(&mut store, 5000), 1);
    assert_eq!(seqs(&drain(&mut store)), [3]);
}

/// A dead letter that was replayed is younger than the events behind it, and so is what another process left.
#[test]
fn an_event_that_is_too_old_is_not_read_back_even_behind_a_younger_one() {
    let disk = Disk::default();
    let bounds = super::Bounds { age: Duration::from_secs(1), ..WIDE };
    let (mut store, _) = Store::open(disk.backend(), bounds, Held::default()).unwrap();
    let put = vec![stored(1, 5000), stored(2, 1000), stored(3, 1000), stored(4, 5000)];
    apply(&mut store, &Changes { put, ..Changes::default() });
    store.release(&[1, 2, 3, 4]);
    let write = |store: &mut Store| store.apply(&Changes::default(), at(5000), None).unwrap().expired;
    let load = |store: &mut Store| seqs(&store.load(10, 10_000, at(5000)).unwrap());
    assert_eq!(write(&mut store), 0, "the first is not too old");
    assert_eq!(load(&mut store), [1]);
    assert!(load(&mut store).is_empty() && !store.is_read_to_the_end);
    assert_eq!(write(&mut store), 2);
    assert_eq!(load(&mut store), [4]);
}
