use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::StorageBackend;

use super::file::SECTOR;
use super::state::PAGE;
use super::{Faults, ProcessDisk, SimDisk};
use crate::delivery::Disk;

const DIRECTORY: &str = "/spool";
const FILE: &str = "/spool/file";

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(seed, Arc::new(|_| panic!("nothing is slow")))
}

fn start(disk: &SimDisk) -> Arc<ProcessDisk> {
    let process = disk.process();
    process.create_directory(Path::new(DIRECTORY)).unwrap();
    process
}

fn open(process: &ProcessDisk) -> Box<dyn StorageBackend> {
    process.open(Path::new(FILE)).unwrap()
}

fn content(disk: &SimDisk) -> Vec<u8> {
    disk.content(Path::new(FILE)).unwrap_or_default()
}

/// A file with this in it, which survives a loss of power.
fn keep(process: &ProcessDisk, data: &[u8]) -> Box<dyn StorageBackend> {
    let file = open(process);
    file.write(0, data).unwrap();
    file.sync_data().unwrap();
    process.sync_directory(Path::new(DIRECTORY)).unwrap();
    file
}

#[test]
fn a_loss_of_power_leaves_each_sector_as_it_was_after_one_of_its_writes() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        let process = start(&disk);
        let file = keep(&process, &[0; 3 * SECTOR]);
        for byte in 1..3 {
            file.write(0, &[byte; 2 * SECTOR]).unwrap();
        }
        disk.lose_power();
        assert!(!process.is_alive());
        assert!(file.read(0, &mut [0]).is_err());
        let content = content(&disk);
        assert!(content.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        let sectors: Vec<u8> = content.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert_eq!((sectors.len(), sectors[2]), (3, 0));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 9, "all there are");
}

#[test]
fn a_name_is_durable_once_its_directory_is_synced_or_by_chance() {
    let is_there = |seed: u64, synced: bool| {
        let disk = disk(seed);
        let process = start(&disk);
        open(&process).sync_data().unwrap();
        if synced {
            process.sync_directory(Path::new(DIRECTORY)).unwrap();
        }
        process.rename(Path::new(FILE), Path::new("/spool/new")).unwrap();
        disk.lose_power();
        disk.files()
    };
    let all = |synced| (0..50).map(|seed| is_there(seed, synced)).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(all(true).into_iter().map(|files| files.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(all(false).into_iter().map(|files| files.len()).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn a_killed_process_has_written_whole_pages_and_writes_no_more() {
    const ALL: usize = 100 + 3 * PAGE;

    let mut lengths = Vec::new();
    for seed in 0..20 {
        let disk = disk(seed);
        let process = start(&disk);
        let file = open(&process);
        process.kill_at(2);
        file.write(0, &[1; 100]).unwrap();
        assert!(file.write(100, &[1; ALL - 100]).is_err());
        assert!(!process.is_alive());
        assert!(file.set_len(7).is_err() && process.remove(Path::new(FILE)).is_err());
        lengths.push(content(&disk).len());
    }
    assert!(lengths.iter().all(|len| [100, PAGE, 2 * PAGE, 3 * PAGE, ALL].contains(len)), "{lengths:?}");
    assert!(lengths.iter().any(|len| (101..ALL).contains(len)), "{lengths:?}");
}

#[test]
fn a_lock_ends_with_its_handle_its_process_or_the_power() {
    let disk = disk(1);
    let (a, b) = (start(&disk), start(&disk));
    let lock = |process: &ProcessDisk| process.claim(Path::new(FILE)).unwrap();
    let held = lock(&a).unwrap();
    assert!(lock(&b).is_none() && lock(&a).is_none());
    held.write(b"note").unwrap();
    drop(held);
    let held = lock(&b).unwrap();
    assert_eq!((held.read(2).unwrap(), held.read(100).unwrap()), (b"no".to_vec(), b"note".to_vec()));
    b.kill();
    assert!(held.write(b"x").is_err());
    let again = lock(&a).unwrap();
    assert_eq!(again.identity().unwrap(), a.metadata(Path::new(FILE)).unwrap().identity);
    a.sync_directory(Path::new(DIRECTORY)).unwrap();
    disk.lose_power();
    assert!(lock(&start(&disk)).is_some());
}

/// As Linux does: reads return what no sync writes any more.
#[test]
fn a_failed_sync_forgets_and_the_next_one_succeeds() {
    let (mut reads_new, mut is_lost) = (0, 0);
    for seed in 0..40 {
        let disk = disk(seed);
        let process = start(&disk);
        let file = keep(&process, &[1; SECTOR]);
        disk.set_faults(Faults { forgets: true, ..Faults::default() });
        file.write(0, &[2; SECTOR]).unwrap();
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        reads_new += usize::from(content(&disk) == [2; SECTOR]);
        disk.set_faults(Faults::default());
        file.sync_data().unwrap();
        disk.lose_power();
        is_lost += usize::from(content(&disk) == [1; SECTOR]);
    }
    assert!((1..40).contains(&is_lost) && (1..40).contains(&reads_new), "{is_lost} {reads_new}");
    assert!(reads_new + is_lost > 40, "some reads lie");
}

#[test]
fn a_full_disk_keeps_what_it_has() {
    let disk = disk(1);
    let process = start(&disk);
    let file = keep(&process, b"there");
    disk.set_faults(Faults { is_full: true, ..Faults::default() });
    assert_eq!(process.free(Path::new(DIRECTORY)), Some(0));
    file.write(0, b"THERE").unwrap();
    assert_eq!(file.write(3, b"RE!").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(6).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(content(&disk), b"THERE");
}

#[test]
fn an_operation_that_hangs_goes_on_when_it_may() {
    let slept = Arc::new(Mutex::new((None::<SimDisk>, Duration::ZERO)));
    let sleeper = Arc::clone(&slept);
    let disk = SimDisk::new(
        1,
        Arc::new(move |time| {
            let mut slept = sleeper.lock().unwrap();
            slept.1 += time;
            if slept.1 > Duration::from_secs(3600)
                && let Some(disk) = &slept.0
            {
                disk.set_faults(Faults::default());
            }
        }),
    );
    slept.lock().unwrap().0 = Some(disk.clone());
    let process = start(&disk);
    let file = open(&process);
    disk.set_faults(Faults { slow: Duration::from_secs(1), ..Faults::default() });
    file.write(0, b"1").unwrap();
    assert_eq!(slept.lock().unwrap().1, Duration::from_secs(1));
    disk.set_faults(Faults { hangs: true, ..Faults::default() });
    file.write(1, b"2").unwrap();
    assert_eq!((slept.lock().unwrap().1.as_secs(), content(&disk)), (3600, b"12".to_vec()));
    slept.lock().unwrap().0 = None;
}

#[test]
fn removed_files_go_on_without_a_name_and_a_flipped_byte_stays() {
    let disk = disk(1);
    let process = start(&disk);
    let file = keep(&process, b"0123456789");
    let (path, offset) = disk.flip().unwrap();
    assert_eq!(path, Path::new(FILE));
    assert_ne!(content(&disk)[offset], b"0123456789"[offset]);
    disk.lose_files();
    file.write(0, b"x").unwrap();
    assert!(disk.files().is_empty() && !process.exists(Path::new(FILE)).unwrap());
    assert_eq!(process.metadata(Path::new(FILE)).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.flip().is_none());
}

#[test]
fn equal_seeds_have_equal_histories() {
    let run = |seed| {
        let disk = disk(seed);
        let process = start(&disk);
        let file = open(&process);
        disk.set_faults(Faults { fails: Some(ErrorKind::Other), ..Faults::default() });
        let results: Vec<bool> = (0..50).map(|at| file.write(at * 700, &[at as u8; 1400]).is_ok()).collect();
        disk.lose_power();
        (results, disk.files(), content(&disk), disk.mutations())
    };
    assert_eq!(run(7), run(7));
    assert!((0..20).any(|seed| run(seed).0 != run(7).0));
}
