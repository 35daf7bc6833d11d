use super::*;
use crate::flags::cache::EvaluatedAt;
use crate::flags::evaluated::Evaluated;

fn persisted(directory: &std::path::Path) -> Arc<Persisted> {
    let host = Url::parse("https://us.i.posthog.com").unwrap();
    let cache = Arc::new(AnswerCache::new(10));
    let config = FlagsConfig::default();
    Arc::new(Persisted::new(&SpoolConfig::at(directory), &host, &config, &cache))
}

fn learn(persisted: &Persisted, person: &str) {
    let flag = (Evaluated::default(), EvaluatedAt::ago(Duration::ZERO, Instant::now()));
    persisted.cache.insert(Arc::from(person), Arc::new([("a".to_owned(), flag)].into()));
    persisted.mark_dirty();
}

/// A disk that was full.
#[tokio::test]
async fn what_could_not_be_written_is_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("spool");
    std::fs::write(&place, "taken").unwrap();
    let persisted = persisted(&place);
    learn(&persisted, "kim");
    persisted.write().await;
    assert!(lock(&persisted.disk).failed);
    std::fs::remove_file(&place).unwrap();
    persisted.write().await;
    assert!(!lock(&persisted.disk).failed && place.join("flags.last-known-good").exists());
}

/// A process that ends before the file was read.
#[tokio::test]
async fn what_was_not_read_yet_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    for person in ["kim", "lee"] {
        let persisted = persisted(directory.path());
        learn(&persisted, person);
        persisted.write().await;
    }
    let next = persisted(directory.path());
    next.load(&mut lock(&next.disk), Instant::now());
    assert!(next.find("kim").is_some() && next.find("lee").is_some());
}

/// A process that is killed.
#[tokio::test(start_paused = true)]
async fn what_was_learned_is_on_disk_within_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let persisted = || persisted(directory.path());
    let this = persisted();
    this.start();
    this.loaded(Instant::now() + Duration::from_secs(1)).await;
    learn(&this, "kim");
    let file = directory.path().join("flags.last-known-good");
    let begun = Instant::now();
    while !file.exists() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The disk is real, and its thread.
        std::thread::yield_now();
    }
    assert!(begun.elapsed() >= Duration::from_secs(59));
    assert!(this.end().unwrap().await.unwrap_err().is_cancelled());

    let next = persisted();
    next.start();
    next.is_loaded.subscribe().wait_for(|is_loaded| *is_loaded).await.unwrap();
    assert_eq!(next.find("kim").unwrap().keys().collect::<Vec<_>>(), ["a"]);
    assert!(next.find("lee").is_none());
    next.end();
}
