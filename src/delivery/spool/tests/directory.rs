use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::failing_disk::Faults;
use super::{WIDE, at, drain, letter, put, seqs, set_version, stored};
use crate::delivery::ledger::{DropReason, Totals};
use crate::delivery::spool::changes::{Changes, Held, StoreError};
use crate::delivery::spool::directory::{Directory, Opened};
use crate::delivery::spool::disk::RealDisk;
use crate::delivery::spool::store::Store;

fn directory(temporary: &tempfile::TempDir) -> Directory {
    Directory::prepare(Arc::new(RealDisk), temporary.path()).unwrap()
}

fn open(directory: &Directory) -> Opened {
    directory.open(WIDE).unwrap()
}

fn file_names(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn each_process_has_a_slot_of_its_own_and_takes_over_those_of_the_dead() {
    let temporary = tempfile::tempdir().unwrap();
    let (first, second) = (directory(&temporary), directory(&temporary));
    let mut a = open(&first);
    let b = open(&second);
    assert_eq!((a.slot, b.slot), (0, 1));
    let totals = Totals { captured: 4, ..Totals::default() };
    a.store
        .apply(&Changes { totals, dead_letter: vec![(9, letter(9))], ..put(0..3) }, at(1000), None)
        .unwrap();
    assert!(second.adopt(1, WIDE).unwrap().is_none(), "its process lives");

    drop(a.store);
    assert!(second.adopt(1, WIDE).unwrap().is_none(), "its process may open it again");
    drop(first);
    let mut adopted = second.adopt(1, WIDE).unwrap().unwrap();
    assert_eq!((adopted.slot, adopted.contents.totals), (0, totals));
    assert_eq!((adopted.contents.dead.len(), adopted.contents.last), (1, Some(9)));
    assert_eq!(seqs(&drain(&mut adopted.store)), [0, 1, 2]);
    let third = directory(&temporary);
    assert!(third.adopt(2, WIDE).unwrap().is_none(), "somebody is at it");

    let moved = Changes { settle: vec![0, 1, 2], discard: vec![9], ..Changes::default() };
    adopted.store.apply(&moved, at(1000), None).unwrap();
    drop(adopted.store);
    assert!(second.adopt(1, WIDE).unwrap().is_none(), "nothing is left");
    assert_eq!(open(&third).slot, 0, "the emptied file is the next one's");
}

#[test]
fn two_stores_do_not_share_a_file() {
    let temporary = tempfile::tempdir().unwrap();
    let opened = open(&directory(&temporary));
    let file =
        fs::File::options().read(true).write(true).open(temporary.path().join("spool-0.redb")).unwrap();
    let backend = Box::new(redb::backends::FileBackend::new(file).unwrap());
    assert!(matches!(Store::open(backend, WIDE, Held::default()), Err(StoreError::Locked)));
    drop(opened);
}

#[test]
fn a_damaged_file_is_salvaged_and_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("spool-0.redb");
    let directory = directory(&temporary);
    let mut kept = Vec::new();
    for round in 0..3 {
        let mut opened = open(&directory);
        let totals = Totals { captured: 21, ..Totals::default() };
        let changes = Changes { totals, dead_letter: vec![(99, letter(99))], ..put(0..20) };
        opened.store.apply(&changes, at(1000), None).unwrap();
        drop(opened.store);
        let mut bytes = fs::read(&path).unwrap();
        bytes[..64].fill(round);
        let needle = br#""e7""#;
        for offset in 0..bytes.len() - needle.len() {
            if bytes[offset..].starts_with(needle) {
                bytes[offset + 1] = b'x';
            }
        }
        fs::write(&path, &bytes).unwrap();
        kept.push(bytes);

        let mut opened = open(&directory);
        let [set_aside] = &opened.set_aside[..] else { panic!("{:?}", opened.set_aside) };
        assert_eq!(fs::read(&set_aside.path).unwrap(), kept[kept.len() - 1]);
        assert_eq!(set_aside.salvaged, 20);
        assert_eq!(opened.contents.totals.dropped.count(DropReason::Crash), 1);
        assert_eq!(opened.contents.dead.len(), 1);
        let expected = (0..20).filter(|seq| *seq != 7).map(|seq| stored(seq, 1000));
        assert!(drain(&mut opened.store).into_iter().eq(expected));
        let settle = (0..20).collect();
        opened
            .store
            .apply(&Changes { settle, discard: vec![99], ..Changes::default() }, at(0), None)
            .unwrap();
    }
    let names = file_names(temporary.path());
    let damaged: Vec<&String> =
        names.iter().filter(|name| name.starts_with("spool-0.redb.damaged-")).collect();
    assert_eq!((damaged.len(), names.len()), (3, 5), "{names:?}");
    let there: Vec<Vec<u8>> =
        damaged.iter().map(|name| fs::read(temporary.path().join(name)).unwrap()).collect();
    assert!(kept.iter().all(|bytes| there.contains(bytes)));
}

#[test]
fn a_salvage_that_was_cut_short_is_done_again_or_done() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = directory(&temporary);
    let path = |name: &str| temporary.path().join(name);
    let mut opened = open(&directory);
    opened.store.apply(&put(0..5), at(1000), None).unwrap();
    drop(opened.store);
    let whole = fs::read(path("spool-0.redb")).unwrap();

    // Cut while writing the new file.
    fs::write(path("spool-0.salvaged"), b"half").unwrap();
    let mut damaged = whole.clone();
    damaged[..64].fill(0);
    fs::write(path("spool-0.redb"), damaged).unwrap();
    let mut opened = open(&directory);
    assert_eq!(drain(&mut opened.store).len(), 5);
    drop(opened.store);
    assert!(!path("spool-0.salvaged").exists());

    // Cut between the two renames.
    fs::rename(path("spool-0.redb"), path("spool-0.salvaged")).unwrap();
    let mut opened = open(&directory);
    assert!(opened.set_aside.is_empty());
    assert_eq!(drain(&mut opened.store).len(), 5);
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("spool-0.redb");
    drop(open(&directory(&temporary)));
    set_version(redb::Database::open(&path), 9);

    let directory = directory(&temporary);
    let opened = open(&directory);
    assert_eq!((opened.slot, opened.set_aside.len()), (1, 0));
    assert!(directory.has_newer());
    assert!(directory.adopt(1, WIDE).unwrap().is_none());
}

/// It may be large, and a search comes every ten seconds.
#[test]
fn a_file_of_a_later_version_is_read_once_until_it_changes() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("spool-1.redb");
    let (first, second) = (directory(&temporary), directory(&temporary));
    let (a, mut b) = (open(&first), open(&second));
    for chunk in 0..10 {
        b.store.apply(&put(chunk * 2_000..chunk * 2_000 + 2_000), at(1000), None).unwrap();
    }
    drop((a, b));
    drop((first, second));
    let set = |version| set_version(redb::Database::open(&path), version);
    set(9);

    let faults = Faults::default();
    let directory = Directory::prepare(faults.disk(), temporary.path()).unwrap();
    let opened = open(&directory);
    assert!(!directory.has_newer(), "nobody has looked yet");
    let search = || {
        let before = faults.bytes_read();
        assert!(directory.adopt(opened.slot, WIDE).unwrap().is_none());
        (faults.bytes_read() - before, directory.has_newer())
    };
    let (read, is_newer) = search();
    assert!(is_newer && read > 0);
    assert!(read as u64 * 10 < fs::metadata(&path).unwrap().len(), "its header is enough: {read}");
    assert_eq!([search(), search()], [(0, true); 2]);
    // The newer version was here again, or the older one that wrote it.
    set(1);
    assert!(!directory.has_newer());
    assert_eq!(directory.adopt(opened.slot, WIDE).unwrap().map(|found| found.slot), Some(1));
}

#[test]
fn free_space_is_known() {
    let temporary = tempfile::tempdir().unwrap();
    assert!(directory(&temporary).free().unwrap() > 0);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let nested = temporary.path().join("a/b");
    drop(open(&Directory::prepare(Arc::new(RealDisk), &nested).unwrap()));
    assert_eq!(mode(&nested), 0o700);
    for name in file_names(&nested) {
        assert_eq!(mode(&nested.join(name)), 0o600);
    }
    fs::set_permissions(&nested, fs::Permissions::from_mode(0o750)).unwrap();
    Directory::prepare(Arc::new(RealDisk), &nested).unwrap();
    assert_eq!(mode(&nested), 0o750, "whoever made it chose");
}
