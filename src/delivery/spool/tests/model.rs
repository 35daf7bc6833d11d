//! Any order of operations, against a store that is a few maps; with a power cut at any write.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::disk::{Disk, Survives};
use super::{at, json, letter};
use crate::delivery::Overflow;
use crate::delivery::ledger::{DropReason, Totals};
use crate::delivery::spool::changes::{Applied, Changes, Contents, Held, Stored};
use crate::delivery::spool::config::Bounds;
use crate::delivery::spool::record::OVERHEAD;
use crate::delivery::spool::store::Store;

#[derive(Clone, Debug)]
enum Op {
    Apply {
        put: Vec<usize>,
        pick: u64,
        tick: u64,
        free: Option<u64>,
        cut: Option<(usize, u64)>,
    },
    Load {
        tick: u64,
        events: usize,
        bytes: usize,
    },
    Release {
        pick: u64,
    },
    /// The process ends in order.
    Close,
    /// After an error: closed and opened with what memory holds.
    Reopen,
    /// The power fails between two transactions.
    Crash {
        survives: u64,
    },
    Compact,
}

fn ops() -> impl Strategy<Value = Op> {
    let cut = prop::option::weighted(0.15, (0..40usize, any::<u64>()));
    let free = prop::option::weighted(0.3, prop_oneof![Just(0), Just(u64::MAX)]);
    let apply = (prop::collection::vec(0..3000usize, 0..6), any::<u64>(), 0..400u64, free, cut)
        .prop_map(|(put, pick, tick, free, cut)| Op::Apply { put, pick, tick, free, cut });
    prop_oneof![
        8 => apply,
        4 => (0..400u64, 1..8usize, 0..6000usize)
            .prop_map(|(tick, events, bytes)| Op::Load { tick, events, bytes }),
        3 => any::<u64>().prop_map(|pick| Op::Release { pick }),
        1 => Just(Op::Close),
        1 => Just(Op::Reopen),
        1 => any::<u64>().prop_map(|survives| Op::Crash { survives }),
        1 => Just(Op::Compact),
    ]
}

/// What should be on disk, and what of it in memory.
#[derive(Clone, Debug, Default)]
struct Model {
    events: BTreeMap<u64, Stored>,
    dead: BTreeSet<u64>,
    held: BTreeSet<u64>,
    /// As of the last commit.
    totals: Totals,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.events.values().map(|event| (event.json.len() + OVERHEAD) as u64).sum()
    }

    fn apply(&mut self, changes: &Changes, now: u64, capacity: u64, bounds: Bounds) -> Applied {
        let mut applied = Applied::default();
        for seq in &changes.settle {
            self.events.remove(seq);
            self.held.remove(seq);
        }
        for seq in &changes.discard {
            self.dead.remove(seq);
        }
        while let Some(oldest) = self.oldest()
            && self.events[&oldest].at < now.saturating_sub(bounds.age.as_millis() as u64)
        {
            self.events.remove(&oldest);
            applied.expired += 1;
        }
        'put: for event in &changes.put {
            let size = (event.json.len() + OVERHEAD) as u64;
            while self.bytes() + size > capacity {
                let victim = self.oldest().filter(|_| bounds.overflow == Overflow::DropOldest);
                let Some(victim) = victim.filter(|_| size <= capacity) else { break 'put };
                self.events.remove(&victim);
                applied.full += 1;
            }
            self.dead.remove(&event.seq);
            self.held.insert(event.seq);
            self.events.insert(event.seq, event.clone());
            applied.written += 1;
        }
        for (seq, attempts) in &changes.attempts {
            if let Some(event) = self.events.get_mut(seq) {
                event.attempts = *attempts;
            }
        }
        for (seq, _) in &changes.dead_letter {
            self.events.remove(seq);
            self.held.remove(seq);
            self.dead.insert(*seq);
        }
        self.totals = changes.totals;
        self.totals.dropped.add(DropReason::SpoolFull, applied.full);
        self.totals.dropped.add(DropReason::SpoolExpired, applied.expired);
        applied
    }

    fn oldest(&self) -> Option<u64> {
        self.events.keys().find(|seq| !self.held.contains(seq)).copied()
    }

    fn load(&mut self, events: usize, bytes: usize, oldest: u64) -> Vec<Stored> {
        let mut chunk: Vec<Stored> = Vec::new();
        for (seq, event) in &self.events {
            if self.held.contains(seq) {
                continue;
            }
            let size: usize = chunk.iter().map(|event| event.json.len()).sum();
            let fits = chunk.len() < events && size + event.json.len() <= bytes;
            if event.at < oldest || (!chunk.is_empty() && !fits) {
                break;
            }
            chunk.push(event.clone());
        }
        self.held.extend(chunk.iter().map(|event| event.seq));
        chunk
    }
}

/// A store, the model of it, and a caller that keeps the books.
struct Run {
    disk: Disk,
    store: Option<Store>,
    model: Model,
    bounds: Bounds,
    totals: Totals,
    next: u64,
    now: u64,
}

impl Run {
    fn new(bounds: Bounds) -> Self {
        let disk = Disk::default();
        let (store, contents) = Store::open(disk.backend(), bounds, Held::default()).unwrap();
        assert_eq!(contents.last, None);
        let model = Model::default();
        Self { disk, store: Some(store), model, bounds, totals: Totals::default(), next: 0, now: 0 }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Apply { put, pick, tick, free, cut } => {
                self.now += tick;
                let changes = self.changes(put, pick);
                self.apply(&changes, free, cut);
            }
            Op::Load { tick, events, bytes } => {
                self.now += tick;
                let now = at(self.now);
                let oldest = self.now.saturating_sub(self.bounds.age.as_millis() as u64);
                let loaded = self.store().load(events, bytes, now).unwrap();
                assert_eq!(loaded, self.model.load(events, bytes, oldest));
            }
            Op::Release { pick } => {
                let seqs = choose(&self.model.held, pick);
                self.store().release(&seqs);
                self.model.held.retain(|seq| !seqs.contains(seq));
            }
            Op::Close => {
                self.store = None;
                self.start(Held::default());
            }
            Op::Reopen => {
                let held = self.store.take().unwrap().into_held();
                assert_eq!(held, self.model.held);
                self.disk.restart(Survives::All);
                self.start(held);
            }
            Op::Crash { survives } => {
                self.disk.fail_after(0);
                self.store = None;
                self.disk.restart(Survives::Some(survives));
                self.start(Held::default());
            }
            Op::Compact => drop(self.store().compact_if_worth_it().unwrap()),
        }
        let (bytes, events) = (self.model.bytes(), self.model.events.len() as u64);
        let fill = self.store().fill();
        assert_eq!((fill.events, fill.bytes), (events, bytes));
    }

    /// New events, and something for some of those that there are.
    fn changes(&mut self, put: Vec<usize>, pick: u64) -> Changes {
        let mut changes = Changes::default();
        for seq in choose(&self.model.held, pick) {
            match (seq ^ pick) % 4 {
                0 => changes.dead_letter.push((seq, letter(seq))),
                1 => changes.attempts.push((seq, (pick % 100) as u32 + 1)),
                _ => changes.settle.push(seq),
            }
        }
        let mut replays = Vec::new();
        for seq in choose(&self.model.dead, pick.rotate_left(17)) {
            if (seq ^ pick).is_multiple_of(3) { replays.push(seq) } else { changes.discard.push(seq) }
        }
        let fresh = self.next..self.next + put.len() as u64;
        self.next = fresh.end;
        // One more that never comes here, so that no two transactions have the same totals.
        self.totals.captured += put.len() as u64 + 1;
        self.totals.dropped.add(DropReason::BeforeSend, 1);
        let sizes = replays.iter().map(|seq| (*seq, 100)).chain(fresh.zip(put));
        let event = |(seq, size)| Stored { seq, at: self.now, attempts: 0, json: json(seq, size) };
        changes.put = sizes.map(event).collect();
        self.totals.delivered += changes.settle.len() as u64;
        self.totals.dropped.add(DropReason::DeadLetterDiscarded, changes.discard.len() as u64);
        changes.settle.push(1 << 40);
        changes.attempts.push((1 << 40, 1));
        changes.discard.push(1 << 40);
        changes.totals = self.totals;
        changes
    }

    fn apply(&mut self, changes: &Changes, free: Option<u64>, cut: Option<(usize, u64)>) {
        let scarce = free.is_some_and(|free| free < self.bounds.min_free);
        let before = self.model.bytes();
        let capacity = if scarce { before.min(self.bounds.bytes) } else { self.bounds.bytes };
        let mut after = self.model.clone();
        let expected = after.apply(changes, self.now, capacity, self.bounds);
        assert!(after.bytes() <= self.bounds.bytes && (!scarce || after.bytes() <= before));
        if let Some((left, _)) = cut {
            self.disk.fail_after(left);
        }
        let now = at(self.now);
        match (self.store().apply(changes, now, free), cut) {
            (Ok(applied), _) => {
                assert_eq!(applied, expected);
                self.model = after;
                // What was not written is in memory only, and this caller drops it. A replay stays dead.
                let lost = changes.put[applied.written..].iter();
                let lost = lost.filter(|event| !self.model.dead.contains(&event.seq)).count() as u64;
                self.totals.dropped.add(DropReason::SpoolFull, applied.full + lost);
                self.totals.dropped.add(DropReason::SpoolExpired, applied.expired);
                self.disk.restart(Survives::All);
            }
            (Err(_), Some((_, survives))) => {
                self.store = None;
                self.disk.restart(Survives::Some(survives));
                let (store, contents) = self.open(Held::default());
                drop(store);
                let committed = contents.totals.captured == changes.totals.captured;
                if committed {
                    self.model = after;
                }
                self.start(Held::default());
            }
            (Err(error), None) => panic!("{error}"),
        }
    }

    fn open(&mut self, held: Held) -> (Store, Contents) {
        Store::open(self.disk.backend(), self.bounds, held).unwrap()
    }

    fn start(&mut self, held: Held) {
        let restart = held == Held::default();
        self.model.held.clone_from(&held);
        let (store, contents) = self.open(held);
        let Contents { totals, dead, last, .. } = contents;
        assert_eq!(last, self.model.last());
        assert!(dead.iter().map(|(seq, _)| seq).eq(&self.model.dead));
        for (seq, dead) in &dead {
            assert_eq!(dead.event, letter(*seq).event);
        }
        let model = self.model.totals;
        let on_disk = (self.model.events.len() + dead.len()) as u64;
        assert_eq!(totals.captured, totals.delivered + totals.dropped.total() + on_disk);
        assert!(totals.captured == model.captured && totals.delivered == model.delivered);
        for reason in DropReason::ALL.into_iter().filter(|reason| *reason != DropReason::Crash) {
            assert_eq!(totals.dropped.count(reason), model.dropped.count(reason));
        }
        if restart {
            self.totals = totals;
        }
        self.store = Some(store);
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn finish(mut self) {
        self.step(Op::Close);
        let events = super::drain(self.store());
        assert!(events.iter().eq(self.model.events.values()));
    }
}

impl Model {
    fn last(&self) -> Option<u64> {
        self.events.keys().next_back().max(self.dead.last()).copied()
    }
}

fn choose(from: &BTreeSet<u64>, pick: u64) -> Vec<u64> {
    from.iter().copied().filter(|seq| (pick >> (seq % 64)) & 1 == 1).take(5).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_store_does_as_its_model(
        ops in prop::collection::vec(ops(), 1..60),
        oldest in any::<bool>(),
        bytes in 4000..20_000u64,
        age in 500..5000u64,
    ) {
        let overflow = if oldest { Overflow::DropOldest } else { Overflow::DropNewest };
        let age = std::time::Duration::from_millis(age);
        let mut run = Run::new(Bounds { bytes, age, min_free: 1 << 20, overflow });
        for op in ops {
            run.step(op);
        }
        run.finish();
    }
}
