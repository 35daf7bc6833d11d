//! When requests may begin. What is in them, [`posthog`](super::posthog) checks.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::bounds;
use super::incidents::Incident;
use super::world::{Answered, Captured, State};

/// A request on its way, and the process that waits for its answer.
#[derive(Debug)]
pub struct Exchange {
    pub process: usize,
    pub ids: Vec<usize>,
    begun: Instant,
    /// It is the first for each of its events.
    pub is_fresh: bool,
    /// It began while the circuit breaker was not closed for certain.
    probes: bool,
    /// It is one of capture V1.
    pub is_v1: bool,
    /// It follows one of V1 that was not taken.
    pub falls_back: bool,
}

/// The requests of a process, as the rules know them.
#[derive(Debug, Default)]
pub struct Requests {
    /// The latest failed requests, with their times and events.
    failed: Vec<(Instant, Vec<usize>)>,
    /// The latest beginning of a request that was accepted, and when the latest was.
    accepted: Option<(Instant, Instant)>,
    /// Requests of new events that the breaker counts as failures, since the last other answer.
    failures_in_a_row: usize,
    /// Requests on their way that began while the breaker was not closed.
    probing: u32,
    /// Since when only bad events fail, and only for themselves.
    pub flows_since: Option<Instant>,
    /// When a request with new events began last.
    pub fresh_begun: Option<Instant>,
    /// If nothing else has failed since.
    hint: Option<Hint>,
    /// The latest failure that may concern other events too, with the pause that it asked for.
    disturbed_until: Option<Instant>,
    /// Events that failed since anything was accepted, or failed in a way that says nothing about events; since when.
    tried: (BTreeSet<usize>, Option<Instant>),
}

/// The latest Retry-After that a bad event provoked which had failed before.
#[derive(Clone, Copy, Debug)]
struct Hint {
    id: usize,
    at: Instant,
    pause: Duration,
}

impl State {
    /// A request begins with these events.
    pub fn begins(&mut self, process: usize, ids: Vec<usize>, is_v1: bool, falls_back: bool) -> Exchange {
        let now = Instant::now();
        let is_fresh = ids.iter().all(|id| self.events[*id].sent == 1);
        if !falls_back {
            self.rests_after_a_failure(process, &ids, now);
        }
        self.is_not_too_old(process, &ids, now);
        let probes = self.passes_the_breaker(process);
        let requests = &mut self.processes[process].requests;
        requests.probing += u32::from(probes);
        if is_fresh {
            requests.fresh_begun = Some(now);
            if let Some(hint) = requests.hint.take() {
                self.was_held_up(process, hint);
            }
        }
        Exchange { process, ids, begun: now, is_fresh, probes, is_v1, falls_back }
    }

    /// A person has dead letters sent again, however soon after they failed.
    pub fn replays(&mut self, process: usize) {
        self.incidents.add_once(Incident::Replay);
        self.processes[process].requests.failed.clear();
    }

    /// A batch that failed comes no sooner than 100 ms later, by PostHog's contract. Its half is another batch.
    fn rests_after_a_failure(&mut self, process: usize, ids: &[usize], now: Instant) {
        let observed = &mut self.processes[process];
        observed.requests.failed.retain(|(at, _)| now - *at < bounds::FIRST_RETRY);
        if observed.is_closed {
            return;
        }
        let comes_again = |failed: &[usize]| {
            let known = ids.iter().filter(|id| failed.contains(id)).count();
            known > 0 && (known < ids.len() || failed.len() <= ids.len())
        };
        let failed = observed.requests.failed.iter().find(|(_, failed)| comes_again(failed));
        if let Some((at, failed)) = failed {
            let text = format!("{ids:?} {} ms after the failure of {failed:?}", (now - *at).as_millis());
            self.violate("no batch is sent again within 100 ms", text);
        }
    }

    /// An answer that an event provokes concerns that event alone. The client knows this only when others are accepted, so it
    /// may happen three times: to the whole batch, to its halves, and to an attempt that begins beside the others'.
    fn was_held_up(&mut self, process: usize, Hint { id, at, pause }: Hint) {
        let is_long = pause >= Duration::from_secs(10) && at.elapsed() >= pause;
        let waits = |event: &&Captured| {
            event.process == process && event.waits() && event.at > at && event.at < at + pause / 2
        };
        if !is_long
            || !self.incidents.posthog_was_well_since(at)
            || !self.events.iter().any(|event| waits(&event))
        {
            return;
        }
        let held_up = &mut self.events[id].held_up;
        *held_up += 1;
        if *held_up > 3 {
            let text =
                format!("event {id} holds up others for {} s, for the {held_up}th time", pause.as_secs());
            self.violate("a Retry-After that an event provokes binds that event only", text);
        }
    }

    /// A process sends no event that is older than the spool keeps events.
    fn is_not_too_old(&mut self, process: usize, ids: &[usize], now: Instant) {
        let Some(spool) = &self.config.spool else { return };
        if self.incidents.clock_jumped() || self.incidents.disk_was_troubled() {
            return;
        }
        let longest = spool.max_age + bounds::EXPIRES;
        // What it has read stays in memory for as long as it takes.
        let started = self.processes[process].started.unwrap_or(now);
        let is_old = |id: &&usize| {
            let event = &self.events[**id];
            let new = event.replayed_at.unwrap_or(event.at);
            event.process != process && started.saturating_duration_since(new) > longest
        };
        if let Some(id) = ids.iter().find(is_old) {
            let text = format!("event {id} is {} s old", (now - self.events[*id].at).as_secs());
            self.violate("nothing is sent that is older than the spool keeps it", text);
        }
    }

    /// Half open, the breaker lets only its probe pass. With more than one, those of earlier times may still be on their
    /// way. Returns whether the breaker is not closed for certain.
    fn passes_the_breaker(&mut self, process: usize) -> bool {
        let settings = self.config.settings();
        // What passed before it opened has failed too.
        let certain = settings.window as usize + settings.in_flight;
        let observed = &self.processes[process];
        // An attempt that is held back for its token counts as a success, and is not seen here.
        if observed.requests.failures_in_a_row < certain || observed.token_was_refused {
            return false;
        }
        if settings.probes == 1 && observed.requests.probing > 0 {
            self.violate("a half-open breaker lets only its probe pass", "another one is on its way");
        }
        true
    }

    /// A request ends, and nothing came of it.
    pub fn no_answer(&mut self, request: &Exchange) {
        self.processes[request.process].requests.probing -= u32::from(request.probes);
    }

    /// Some events of a batch that PostHog took are to be sent again.
    pub fn asks_again(&mut self, process: usize, ids: Vec<usize>) {
        let now = Instant::now();
        ids.iter().for_each(|id| self.events[*id].failed_at = Some((process, now)));
        self.processes[process].requests.failed.push((now, ids));
    }

    /// A request ends. `arrived`: something answered it, or nothing did in time. `hint`: its Retry-After.
    pub fn ends(&mut self, request: &Exchange, how: Answered, arrived: bool, hint: Option<Duration>) {
        let now = Instant::now();
        let Exchange { process, ref ids, begun, is_fresh, probes, .. } = *request;
        let is_forgivable = self.is_forgivable(request, how);
        let is_calm = self.troubles().is_empty();
        let settings = self.config.settings();
        let most_tried = settings.queue_events + settings.in_flight * settings.batch_events;
        if let Answered::Failed { .. } = how {
            ids.iter().for_each(|id| self.events[*id].failed_at = Some((process, now)));
        }
        let bad = ids.iter().copied().find(|id| self.events[*id].kind.is_bad());
        let chosen = begun.checked_sub(self.chosen_before());
        let pause = hint.unwrap_or_default().min(self.config.settings().longest_retry_after);
        let observed = &mut self.processes[process];
        observed.answers.push((now, how));
        let requests = &mut observed.requests;
        requests.probing -= u32::from(probes);
        requests.hint = match how {
            Answered::Failed { by_content: true, .. } if hint.is_some() && !is_fresh => {
                bad.map(|id| Hint { id, at: now, pause })
            }
            Answered::Failed { .. } => None,
            _ => requests.hint,
        };
        match how {
            Answered::Accepted => {
                let latest = requests.accepted.map_or(begun, |(latest, _)| latest.max(begun));
                requests.accepted = Some((latest, now));
                requests.failures_in_a_row = 0;
                if is_fresh && is_calm && chosen > requests.disturbed_until {
                    requests.flows_since.get_or_insert(now);
                }
                requests.tried = Default::default();
            }
            Answered::OverQuota | Answered::Nothing => {
                (requests.failures_in_a_row, requests.flows_since) = (0, None);
                requests.tried = Default::default();
            }
            Answered::Failed { status, .. } => {
                // With another token it is another request.
                if status != 401 && (status != 413 || ids.len() == 1) {
                    requests.failed.push((now, ids.clone()));
                }
                match status {
                    0 | 408 | 500.. => requests.failures_in_a_row += usize::from(is_fresh),
                    _ => requests.failures_in_a_row = 0,
                }
                if !is_forgivable {
                    requests.flows_since = None;
                    requests.disturbed_until = requests.disturbed_until.max(Some(now + pause));
                }
                // These go back to the queue, in their old or another size.
                if !arrived || matches!(status, 401 | 402 | 413 | 429) {
                    requests.tried = Default::default();
                } else {
                    requests.tried.0.extend(ids);
                    requests.tried.1.get_or_insert(now);
                }
            }
        }
        // After ten minutes of rejections, events are dead letters.
        let (tried, since) = &requests.tried;
        let is_short = since.is_some_and(|since| now - since < Duration::from_secs(590));
        let tried = tried.len();
        if tried > most_tried && is_short && !observed.is_closed {
            let text = format!("{tried} events have failed, and {most_tried} may");
            self.violate("events that failed stay within a queue's bound", text);
        }
    }

    /// Whether a failure is that of bad events that failed before, and of which the client can know that others are
    /// accepted. It must not concern others.
    fn is_forgivable(&self, request: &Exchange, how: Answered) -> bool {
        let requests = &self.processes[request.process].requests;
        let Answered::Failed { by_content: true, .. } = how else { return false };
        let Some((began, at)) = requests.accepted.filter(|_| !request.is_fresh) else { return false };
        // What another process has seen, this one does not know.
        let failed_before = |id: &usize| {
            self.events[*id].failed_at.is_some_and(|(by, failed)| by == request.process && failed < began)
        };
        let since = request.begun.saturating_duration_since(at);
        (self.chosen_before()..bounds::OTHERS).contains(&since) && request.ids.iter().all(failed_before)
    }

    /// How long before its beginning a request may have been chosen, because it waits for the rate limit with all others.
    fn chosen_before(&self) -> Duration {
        let settings = self.config.settings();
        Duration::from_secs(2 * settings.in_flight as u64 + 2) / settings.rate
    }

    /// Good events that wait to be sent for the first time, for longer than that.
    pub fn waiting(&self, process: usize, longer: Duration) -> usize {
        let waits =
            |event: &&Captured| event.process == process && event.waits() && event.at.elapsed() > longer;
        self.events.iter().filter(waits).count()
    }
}
