//! Capture V1: PostHog's verdicts, and what the rules know of the client's way to them.

use std::collections::HashMap;

use fastrand::Rng;
use reqwest::Request;

use super::plan::{EventKind, Fault, Provokes, Trouble};
use super::requests::Exchange;
use super::world::{Captured, State};
use crate::CaptureProtocol;

/// A process's way to V1.
#[derive(Debug, Default)]
pub struct Capture {
    /// V1 has answered, and the client had no reason to leave it since.
    pub speaks_v1: bool,
    /// Batches that V1 did not take, and that may go by V0 at once.
    falls_back: Vec<Vec<usize>>,
    /// The batches by their request ids: their events, their time, and the latest attempt.
    batches: HashMap<String, (Vec<usize>, String, u32)>,
}

/// V1's verdict on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Stored,
    Warned,
    Invented,
    Dropped(&'static str),
    OverQuota,
    Retry,
    /// It is stored, and the answer does not say so.
    Forgotten,
}

impl Told {
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Stored | Self::Warned | Self::Invented | Self::Forgotten)
    }

    fn json(self) -> Option<serde_json::Value> {
        Some(match self {
            Self::Stored => serde_json::json!({"result": "ok"}),
            Self::Warned => serde_json::json!({"result": "ok", "details": "person_processing_disabled"}),
            Self::Invented => serde_json::json!({"result": "limited"}),
            Self::Dropped(details) => serde_json::json!({"result": "drop", "details": details}),
            Self::OverQuota => serde_json::json!({"result": "drop", "details": "billing_limit_exceeded"}),
            Self::Retry => serde_json::json!({"result": "retry", "details": "not_persisted"}),
            Self::Forgotten => return None,
        })
    }
}

/// The verdicts on a batch that PostHog does not refuse.
pub fn verdicts(rng: &mut Rng, troubles: &[Trouble], events: &[&Captured]) -> Vec<Told> {
    let mut told: Vec<_> = events.iter().map(|event| verdict(rng, troubles, event)).collect();
    // An answer that knows none of the events is none.
    if told.iter().all(|told| *told == Told::Forgotten) {
        told.iter_mut().take(1).for_each(|told| *told = Told::Stored);
    }
    told
}

fn verdict(rng: &mut Rng, troubles: &[Trouble], event: &Captured) -> Told {
    match event.kind {
        EventKind::Bad(Provokes::BadRequest) => return Told::Dropped("rejected"),
        EventKind::Bad(Provokes::TooLarge) => return Told::Dropped("event_too_big"),
        EventKind::Bad(Provokes::ServerError) => return Told::Retry,
        _ => {}
    }
    for trouble in troubles {
        let told = match trouble.fault {
            Fault::V1Retries => Told::Retry,
            Fault::V1Forgets if !event.was_forgotten => Told::Forgotten,
            Fault::V1Warns => Told::Warned,
            Fault::V1Invents => Told::Invented,
            Fault::V1OverQuota => Told::OverQuota,
            Fault::V1Drops => Told::Dropped("rejected"),
            _ => continue,
        };
        if rng.u8(..100) < trouble.share {
            return told;
        }
    }
    Told::Stored
}

/// The answer's body.
pub fn body(state: &State, ids: &[usize], told: &[Told]) -> String {
    let results: serde_json::Map<_, _> = ids
        .iter()
        .zip(told)
        .filter_map(|(id, told)| Some((state.events[*id].uuid.clone(), told.json()?)))
        .collect();
    serde_json::json!({ "results": results }).to_string()
}

impl State {
    /// A request of V1 with these events leaves the client.
    pub fn identifies(&mut self, process: usize, request: &Request, created_at: &str, ids: &[usize]) {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let name = header("posthog-request-id").unwrap_or_default().to_owned();
        let attempt = header("posthog-attempt").and_then(|attempt| attempt.parse::<u32>().ok()).unwrap_or(0);
        let batches = &mut self.processes[process].capture.batches;
        let is_as_before = match batches.get(&name) {
            None => attempt == 1 || self.config.protocol == CaptureProtocol::Auto,
            Some((known, time, latest)) => {
                attempt > *latest && time == created_at && ids.iter().all(|id| known.contains(id))
            }
        };
        batches.insert(name, (ids.to_vec(), created_at.to_owned(), attempt));
        if !is_as_before {
            let text = format!("attempt {attempt} of {ids:?}, created at {created_at}");
            self.violate("a batch keeps its request id and its time", text);
        }
    }

    /// Whether the client speaks V1 only to find out whether it works.
    pub fn is_trial(&self, process: usize) -> bool {
        self.config.protocol == CaptureProtocol::Auto && !self.processes[process].capture.speaks_v1
    }

    /// V1 does not take a batch, and V0 follows at once.
    pub fn passes_on(&mut self, exchange: &Exchange) {
        self.no_answer(exchange);
        exchange.ids.iter().for_each(|id| self.events[*id].sent -= 1);
        self.may_fall_back(exchange);
    }

    /// The same, if the probe finds that a proxy refuses the batch and not PostHog.
    pub fn may_fall_back(&mut self, exchange: &Exchange) {
        if self.config.protocol == CaptureProtocol::Auto {
            self.processes[exchange.process].capture.falls_back.push(exchange.ids.clone());
        }
    }

    /// Whether a request of V0 follows one of V1 that was not taken.
    pub fn falls_back(&mut self, process: usize, ids: &[usize]) -> bool {
        let falls_back = &mut self.processes[process].capture.falls_back;
        let known = falls_back.iter().position(|batch| batch == ids);
        known.map(|at| falls_back.swap_remove(at)).is_some()
    }
}
