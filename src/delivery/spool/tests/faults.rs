use std::io::ErrorKind;

use super::failing_disk::Faults;
use super::{WIDE, at, drain, put, seqs};
use crate::delivery::spool::changes::{Changes, Held};
use crate::delivery::spool::directory::Directory;

#[test]
fn after_an_error_of_the_disk_everything_is_done_again_and_nothing_is_lost() {
    let fail: [fn(&Faults, Option<ErrorKind>); 2] = [Faults::fail_writes, Faults::fail_syncs];
    for (fail, kind) in fail.into_iter().zip([ErrorKind::StorageFull, ErrorKind::Other]) {
        let temporary = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let directory = Directory::prepare(faults.disk(), temporary.path()).unwrap();
        let opened = directory.open(WIDE).unwrap();
        let (slot, mut store) = (opened.slot, opened.store);
        store.apply(&put(0..10), at(1000), None).unwrap();
        store.release(&[0, 1, 2]);

        let changes = Changes { settle: vec![5], ..put(10..20) };
        fail(&faults, Some(kind));
        assert_eq!(store.apply(&changes, at(1000), None).unwrap_err().kind(), kind);
        assert!(store.apply(&changes, at(1000), None).is_err());
        let held = store.into_held();
        assert!(held.iter().copied().eq(3..20), "what was put may be on disk");
        assert_eq!(directory.open_again(WIDE, held.clone()).err().map(|error| error.kind()), Some(kind));
        fail(&faults, None);

        let opened = directory.open_again(WIDE, held).unwrap();
        assert!(opened.slot == slot && opened.set_aside.is_empty());
        let mut store = opened.store;
        assert_eq!(seqs(&drain(&mut store)), [0, 1, 2], "what memory holds is not given out");
        store.apply(&changes, at(1000), None).unwrap();
        store.apply(&changes, at(1000), None).unwrap();
        assert_eq!(store.fill().events, 19);
        drop(store);
        let mut store = directory.open_again(WIDE, Held::default()).unwrap().store;
        assert!(seqs(&drain(&mut store)).into_iter().eq((0..20).filter(|seq| *seq != 5)));
    }
}

#[test]
fn an_unreadable_disk_is_an_error_and_no_damage() {
    let temporary = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let directory = Directory::prepare(faults.disk(), temporary.path()).unwrap();
    drop(directory.open(WIDE).unwrap());
    faults.fail_reads(Some(ErrorKind::Other));
    assert!(directory.open(WIDE).is_err());
    faults.fail_reads(None);
    assert!(directory.open(WIDE).unwrap().set_aside.is_empty());
}
