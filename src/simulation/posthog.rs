//! The simulated PostHog, and the network before it.

use std::borrow::Cow;
use std::future::pending;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Request;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::bounds;
use super::capture_v1::{self, Told};
use super::disk::ProcessDisk;
use super::incidents::Incident;
use super::plan::{EventKind, Fault, Provokes};
use super::requests::Exchange;
use super::world::{Answered, State, World, id_of, millis};
use crate::api::Answer;
use crate::api::simulated::Network;
use crate::rt::clock;
use crate::{CaptureProtocol, Error, ErrorKind};

/// The way from one process to PostHog.
#[derive(Clone, Debug)]
pub struct Wire {
    pub world: World,
    pub process: usize,
    /// Whether the process lives.
    pub disk: Arc<ProcessDisk>,
}

/// The latency that the alert High Latency calls slow, by default.
const SLOW: Duration = Duration::from_secs(5);

/// Longer than any request may take.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Of V0 or V1.
#[derive(Deserialize)]
struct Body<'a> {
    api_key: Option<&'a str>,
    sent_at: Option<&'a str>,
    created_at: Option<&'a str>,
    #[serde(borrow)]
    batch: Vec<Sent<'a>>,
}

/// A batch as it left the client.
#[derive(Debug, Default)]
struct Received {
    ids: Vec<usize>,
    /// The number of its token.
    key: Option<u32>,
    /// Before compression, which does not depend on the order of members.
    size: usize,
    is_v1: bool,
    /// It goes by V0 because V1 did not take it.
    falls_back: bool,
}

#[derive(Deserialize)]
struct Sent<'a> {
    uuid: &'a str,
    timestamp: &'a str,
}

/// The fate of a request.
#[derive(Clone, Debug)]
struct Fate {
    /// How often the events are taken.
    taken: u32,
    /// After the arrival.
    delay: Duration,
    reply: Reply,
    by_content: bool,
    why: String,
    /// V1's verdicts, if it has any.
    told: Vec<Told>,
}

#[derive(Clone, Debug)]
enum Reply {
    Status {
        status: u16,
        is_page: bool,
        retry_after: Option<u32>,
        body: Cow<'static, str>,
    },
    /// The answer breaks off.
    Cut,
    None(ErrorKind),
}

impl Fate {
    fn accepted() -> Self {
        let body = r#"{"status":"Ok"}"#.into();
        let reply = Reply::Status { status: 200, is_page: false, retry_after: None, body };
        let (delay, why) = (Duration::ZERO, "takes".into());
        Self { taken: 1, delay, reply, by_content: false, why, told: Vec::new() }
    }

    fn refused(status: u16, is_page: bool, retry_after: Option<u32>) -> Self {
        let body = match status {
            _ if is_page => "<html><body>a page</body></html>",
            401 => "API key is not valid",
            _ => "refused",
        };
        let reply = Reply::Status { status, is_page, retry_after, body: body.into() };
        let page = if is_page { " with a page" } else { "" };
        let hint = retry_after.map_or(String::new(), |hint| format!(", Retry-After: {hint}"));
        let why = format!("answers {status}{page}{hint} to");
        Self { taken: 0, reply, why, ..Self::accepted() }
    }

    /// A refusal of V1's, which has a tag.
    fn tagged(status: u16, tag: &str, retry_after: Option<u32>) -> Self {
        let mut fate = Self::refused(status, false, retry_after);
        if let Reply::Status { body, .. } = &mut fate.reply {
            *body = format!(r#"{{"error":"{tag}"}}"#).into();
        }
        fate
    }

    /// Whether the client takes it for the answer of a host without V1, or of a proxy that spoils it.
    fn is_not_v1(&self) -> bool {
        match &self.reply {
            Reply::Status { status: 404, .. } => true,
            Reply::Status { status: 408 | 429, .. } => false,
            Reply::Status { status: 200, is_page, .. } => *is_page,
            Reply::Status { status: 400..500, body, .. } => {
                !body.contains("error") || body.contains("missing_required_headers")
            }
            _ => false,
        }
    }

    fn lost(kind: ErrorKind) -> Self {
        Self {
            taken: 0,
            reply: Reply::None(kind),
            why: format!("({}) does not get", kind.as_str()),
            ..Self::accepted()
        }
    }
}

impl Network for Wire {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send + '_>> {
        Box::pin(async move {
            self.lives().await;
            if request.url().path().ends_with("/flags/") {
                return self.probe(request).await;
            }
            let (exchange, travel, fate) = {
                let mut state = self.world.lock();
                let received = receive(&mut state, self.process, &request);
                let travel = Duration::from_millis(state.rng.u64(5..50));
                let fate = judge(&mut state, &received);
                let Received { ids, is_v1, falls_back, .. } = received;
                (state.begins(self.process, ids, is_v1, falls_back), travel, fate)
            };
            let mut given_up = GivenUp {
                wire: self,
                exchange: Some(exchange),
                by_content: fate.by_content,
                begun: Instant::now(),
            };
            sleep(travel).await;
            self.world.lock().arrives(&given_up.exchange, &fate);
            sleep(fate.delay).await;
            self.lives().await;
            if let Some(exchange) = given_up.exchange.take() {
                self.world.lock().answers(&exchange, &fate);
            }
            fate.reply.into_result()
        })
    }
}

/// A request that the client gives up because it took too long.
struct GivenUp<'a> {
    wire: &'a Wire,
    /// `None` once it was answered.
    exchange: Option<Exchange>,
    by_content: bool,
    begun: Instant,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let state = &mut *self.wire.world.lock();
        if self.begun.elapsed() >= SLOW {
            state.incidents.add_once(Incident::SlowRequest);
        }
        if exchange.is_v1 && state.is_trial(exchange.process) {
            return state.passes_on(&exchange);
        }
        let answered = Answered::Failed { status: 0, by_content: self.by_content, fresh: exchange.is_fresh };
        state.ends(&exchange, answered, true, None);
    }
}

/// A probe that the client may give up.
struct Asked<'a> {
    wire: &'a Wire,
    begun: Instant,
    is_answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let state = &mut *self.wire.world.lock();
        let is_long = self.begun.elapsed() >= state.config.settings().request_timeout;
        let observed = &mut state.processes[self.wire.process];
        if is_long && observed.token_was_refused_last {
            observed.check_timed_out_at = Some(Instant::now());
        }
    }
}

impl Wire {
    /// A process that was killed does nothing any more, although its tasks are still there.
    async fn lives(&self) {
        if !self.disk.is_alive() {
            pending::<()>().await;
        }
    }

    async fn probe(&self, request: Request) -> Result<Answer, Error> {
        let (travel, key, fate) = {
            let mut state = self.world.lock();
            let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
            let key = serde_json::from_slice::<serde_json::Value>(body).ok();
            let key = key.and_then(|body| body["api_key"].as_str().and_then(token_number));
            let travel = Duration::from_millis(state.rng.u64(5..50));
            (travel, key, judge_probe(&mut state, key))
        };
        let mut asked = Asked { wire: self, begun: Instant::now(), is_answered: false };
        sleep(travel + fate.delay).await;
        asked.is_answered = true;
        let mut state = self.world.lock();
        state.coverage.count("probe", fate.why.clone());
        state.note(format_args!("PostHog {} a probe of process {}", fate.why, self.process));
        let refused = match fate.reply {
            Reply::Status { status: 401, .. } => Some(true),
            Reply::Status { status: 200..300, is_page: false, .. } => Some(false),
            _ => None,
        };
        let now = Instant::now();
        state.processes[self.process].probed(key, refused, now);
        drop(state);
        fate.reply.into_result()
    }
}

/// Checks a request that leaves the client.
fn receive(state: &mut State, process: usize, request: &Request) -> Received {
    let now = Instant::now();
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let mut inflated = Vec::new();
    let body = if request.headers().contains_key(CONTENT_ENCODING) {
        // What cannot be inflated is no JSON either.
        let _ = flate2::read::GzDecoder::new(body).read_to_end(&mut inflated);
        &inflated[..]
    } else {
        body
    };
    let is_v1 = request.url().path().ends_with("/i/v1/analytics/events");
    let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let parts = serde_json::from_slice::<Body<'_>>(body).ok().and_then(|body| {
        let Body { api_key, sent_at, created_at, batch } = body;
        Some(if is_v1 {
            let token = header("authorization")?.strip_prefix("Bearer ")?;
            (token, header("posthog-request-timestamp")?, created_at?, batch)
        } else {
            (api_key?, sent_at?, "", batch)
        })
    });
    let Some((api_key, sent_at, created_at, batch)) = parts else {
        state.violate("a batch is what PostHog takes", format_args!("{} bytes are not", body.len()));
        return Received::default();
    };
    let wall = millis(clock::wall());
    let sent = humantime::parse_rfc3339(sent_at).map(millis).unwrap_or_default();
    if (wall - sent).abs() > 1 {
        state
            .violate("each attempt has a fresh send time", format_args!("sent_at is {} ms old", wall - sent));
    }
    let settings = state.config.settings().clone();
    let most = settings.batch_bytes + bounds::envelope(batch.len(), is_v1);
    if batch.len() > settings.batch_events || (body.len() > most && batch.len() > 1) {
        let text = format!("{} events in {} bytes", batch.len(), body.len());
        state.violate("a batch stays within its bounds", text);
    }
    let mut ids = Vec::with_capacity(batch.len());
    for Sent { uuid, timestamp } in batch {
        let Some(id) = id_of(uuid).filter(|id| *id < state.events.len()) else {
            state.violate("only captured events are sent", uuid);
            continue;
        };
        let event = &mut state.events[id];
        event.sent += 1;
        let first = event.timestamp.get_or_insert_with(|| timestamp.to_owned());
        if first != timestamp {
            let text = format!("event {id} had {first} and has {timestamp}");
            state.violate("an event keeps its timestamp", text);
        } else if event.sent == 1 {
            let at = humantime::parse_rfc3339(timestamp).map(millis).unwrap_or_default();
            // The clock may be set back during the call.
            let (before, after) = (millis(event.wall.0), millis(event.wall.1));
            if !(before.min(after)..=before.max(after)).contains(&at) {
                let text = format!("event {id} has {timestamp}, captured at {:?}", event.wall);
                state.violate("an event has the time of its capture", text);
            }
        }
        ids.push(id);
    }
    let again = ids.iter().find(|id| state.events[**id].acknowledged_to == Some(process));
    if let Some(id) =
        again.filter(|_| !state.incidents.disk_was_troubled() && !state.incidents.has(Incident::Replay))
    {
        let text = format!("process {process} sends event {id} again");
        state.violate("a delivered event is not sent again", text);
    }
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < ids.len() {
        state.violate("an event is once in a batch", format_args!("{ids:?}"));
    }
    if is_v1 {
        state.identifies(process, request, created_at, &ids);
    }
    let falls_back = !is_v1 && state.falls_back(process, &ids);
    let key = token_number(api_key);
    let received = Received { ids, key, size: body.len(), is_v1, falls_back };
    if falls_back {
        // It belongs to the attempt by V1.
        return received;
    }
    let observed = &state.processes[process];
    let left_alone = observed.left_alone_until.filter(|until| *until > now);
    // A request may be on its way through the layers in the moment of the answer.
    let has_arrived = || observed.answers.last().is_some_and(|(at, _)| *at < now);
    if let Some(until) = left_alone.filter(|_| has_arrived()) {
        let text = format!("process {process} sends {} ms early", (until - now).as_millis());
        state.violate("no request starts inside a Retry-After", text);
    }
    let observed = &mut state.processes[process];
    if observed.is_over {
        state.violate("a process that has ended sends nothing", format_args!("process {process}"));
        return Received { key: None, ..received };
    }
    observed.begun.push(now);
    // The rate limit holds for live batches and for those that are searched for a bad event, each alone.
    let recent = observed.begun.iter().rev().take_while(|at| now - **at < Duration::from_secs(10)).count();
    let most = 2 * (settings.burst as usize + 10 * settings.rate as usize) + 2;
    if recent > most {
        state.violate("requests stay within the rate limit", format_args!("{recent} in 10 s"));
    }
    // While capture refuses the token too, nothing is lost, and an attempt is as good as a probe.
    let refuses = |answered| matches!(answered, Answered::Failed { status: 401, .. });
    let observed = &state.processes[process];
    let is_refused = observed.answers.last().is_some_and(|(_, answered)| refuses(*answered));
    let long_ago = |at: &Instant| now - *at > Duration::from_secs(1);
    let is_known = |(at, refused): &(Instant, Option<u32>)| long_ago(at) && *refused == key && !is_refused;
    let known = observed.token_refused_at.filter(is_known);
    if let Some((at, _)) = known.filter(|_| state.knows_the_token_is_refused(key)) {
        let text = format!("a probe said {} ms ago that the token is unknown", (now - at).as_millis());
        state.violate("no event is sent with a token that is known as refused", text);
    }
    received
}

fn judge(state: &mut State, received: &Received) -> Fate {
    let Received { ref ids, key, size, is_v1, .. } = *received;
    let refused = |status, retry_after| match status {
        400..404 | 413 if is_v1 => Fate::tagged(status, "refused", retry_after),
        _ => Fate::refused(status, false, retry_after),
    };
    if key != Some(state.token) {
        return refused(401, None);
    }
    for trouble in state.troubles() {
        if Fault::OF_V1.contains(&trouble.fault) && !is_v1 || state.rng.u8(..100) >= trouble.share {
            continue;
        }
        let fate = match trouble.fault {
            Fault::Status { status, retry_after } => refused(status, retry_after),
            Fault::NoV1 => Fate::refused(404, false, None),
            Fault::StripsHeaders => Fate::tagged(400, "missing_required_headers", None),
            Fault::OverQuota if is_v1 => return told(state, ids, vec![Told::OverQuota; ids.len()]),
            Fault::V1Retries
            | Fault::V1Forgets
            | Fault::V1Warns
            | Fault::V1Invents
            | Fault::V1OverQuota
            | Fault::V1Drops => continue,
            Fault::Page { status } => Fate::refused(status, true, None),
            Fault::Refused => Fate::lost(ErrorKind::Connect),
            Fault::NoName => Fate::lost(ErrorKind::Dns),
            Fault::NoTls => Fate::lost(ErrorKind::Tls),
            Fault::Reset => Fate::lost(ErrorKind::ConnectionLost),
            Fault::Hang => Fate { taken: 0, delay: FOREVER, why: "hangs on".into(), ..Fate::accepted() },
            Fault::Slow { millis } => {
                let delay = Duration::from_millis(millis.into());
                Fate { delay, why: "slowly takes".into(), ..Fate::accepted() }
            }
            Fault::AnswerLost => Fate {
                reply: Reply::None(ErrorKind::ConnectionLost),
                why: "takes, with a lost answer,".into(),
                ..Fate::accepted()
            },
            Fault::AnswerCut => {
                Fate { reply: Reply::Cut, why: "takes, with a cut answer,".into(), ..Fate::accepted() }
            }
            Fault::Twice => Fate { taken: 2, why: "twice takes".into(), ..Fate::accepted() },
            Fault::BodyLimit { bytes } if size > bytes as usize => refused(413, None),
            Fault::BodyLimit { .. } | Fault::TokenRotated => continue,
            Fault::OverQuota => Fate {
                reply: Reply::Status {
                    status: 200,
                    is_page: false,
                    retry_after: None,
                    body: r#"{"status":1,"quota_limited":["events"]}"#.into(),
                },
                why: "takes, over quota,".into(),
                ..Fate::accepted()
            },
            Fault::TokenRefused => refused(401, None),
            Fault::TokenUnknown => Fate { why: "takes, for nobody,".into(), ..Fate::accepted() },
        };
        let is_taken = matches!(fate.reply, Reply::Status { status: 200, is_page: false, .. });
        if is_v1 && is_taken {
            let Fate { taken, delay, why, .. } = fate;
            return Fate { taken, delay, why, ..told(state, ids, vec![Told::Stored; ids.len()]) };
        }
        return fate;
    }
    let has_verdict = |provokes| {
        is_v1 && matches!(provokes, Provokes::BadRequest | Provokes::TooLarge | Provokes::ServerError)
    };
    let provokes = ids.iter().find_map(|id| match state.events[*id].kind {
        EventKind::Bad(provokes) if !has_verdict(provokes) => Some(provokes),
        _ => None,
    });
    let Some(provokes) = provokes else {
        if !is_v1 {
            return Fate::accepted();
        }
        let troubles = state.troubles();
        let State { rng, events, .. } = state;
        let events: Vec<_> = ids.iter().map(|id| &events[*id]).collect();
        let verdicts = capture_v1::verdicts(rng, &troubles, &events);
        return told(state, ids, verdicts);
    };
    let fate = match provokes {
        Provokes::BadRequest => Fate::refused(400, false, None),
        Provokes::ForbiddenPage => Fate::refused(403, true, None),
        Provokes::Forbidden => Fate::refused(403, false, None),
        Provokes::TooLarge => Fate::refused(413, false, None),
        Provokes::ServerError => Fate::refused(500, false, None),
        Provokes::Unavailable => {
            let hint = bounds::PROVOKED_RETRY_AFTER.as_secs();
            Fate::refused(503, false, u32::try_from(hint).ok())
        }
        Provokes::GatewayPage => Fate::refused(502, true, None),
        Provokes::Reset => Fate::lost(ErrorKind::ConnectionLost),
        Provokes::Hang => Fate { taken: 0, delay: FOREVER, why: "hangs on".into(), ..Fate::accepted() },
    };
    Fate { by_content: true, ..fate }
}

/// PostHog's verdicts by V1.
fn told(state: &State, ids: &[usize], told: Vec<Told>) -> Fate {
    let asks_again = told.contains(&Told::Retry);
    let body = capture_v1::body(state, ids, &told).into();
    let reply = Reply::Status { status: 200, is_page: false, retry_after: asks_again.then_some(1), body };
    let others = told.iter().filter(|told| **told != Told::Stored).count();
    let why = if others == 0 { "takes".into() } else { format!("has {others} other verdicts than ok on") };
    let is_bad = |id: &usize| state.events[*id].kind.is_bad();
    let by_content = asks_again && ids.iter().zip(&told).all(|(id, told)| *told != Told::Retry || is_bad(id));
    Fate { reply, why, told, by_content, ..Fate::accepted() }
}

fn judge_probe(state: &mut State, key: Option<u32>) -> Fate {
    if key != Some(state.token) {
        return Fate::refused(401, false, None);
    }
    for trouble in state.troubles() {
        if state.rng.u8(..100) >= trouble.share {
            continue;
        }
        return match trouble.fault {
            Fault::Status { status: status @ (404 | 408 | 429 | 500..), retry_after } => {
                Fate::refused(status, false, retry_after)
            }
            Fault::Page { status } => Fate::refused(status, true, None),
            Fault::Refused => Fate::lost(ErrorKind::Connect),
            Fault::NoName => Fate::lost(ErrorKind::Dns),
            Fault::NoTls => Fate::lost(ErrorKind::Tls),
            Fault::Reset | Fault::AnswerLost => Fate::lost(ErrorKind::ConnectionLost),
            Fault::AnswerCut => Fate { reply: Reply::Cut, ..Fate::accepted() },
            Fault::Hang => Fate { delay: FOREVER, why: "hangs on".into(), ..Fate::accepted() },
            Fault::Slow { millis } => {
                Fate { delay: Duration::from_millis(millis.into()), ..Fate::accepted() }
            }
            Fault::TokenRefused | Fault::TokenUnknown => Fate::refused(401, false, None),
            _ => continue,
        };
    }
    Fate::accepted()
}

impl State {
    /// Whether the token of this number is one that PostHog does not know now.
    fn knows_the_token_is_refused(&mut self, key: Option<u32>) -> bool {
        let is_unknown = |trouble: &super::plan::Trouble| {
            // With any other refusal nothing is lost.
            trouble.share == 100 && trouble.fault == Fault::TokenUnknown
        };
        key == Some(self.token) && self.troubles().iter().any(is_unknown)
    }

    fn arrives(&mut self, exchange: &Option<Exchange>, fate: &Fate) {
        let Some(Exchange { process, ids, .. }) = exchange else { return };
        self.note(format_args!("PostHog {} {} of process {process}", fate.why, list(ids)));
        let now = Instant::now();
        for (at, id) in ids.iter().enumerate() {
            let event = &mut self.events[*id];
            let told = fate.told.get(at).copied().unwrap_or(Told::Stored);
            if fate.taken > 0 && (told.is_stored() || told == Told::OverQuota) {
                event.accepted += fate.taken;
                event.accepted_at.get_or_insert(now);
            }
        }
    }

    /// Whether the client sends this batch by V0 at once.
    fn is_not_taken(&self, exchange: &Exchange, fate: &Fate) -> bool {
        let is_taken = !fate.told.is_empty() && matches!(fate.reply, Reply::Status { .. });
        let is_auto = self.config.protocol == CaptureProtocol::Auto;
        !is_taken && (self.is_trial(exchange.process) || (is_auto && fate.is_not_v1()))
    }

    /// The client has V1's verdicts.
    fn is_told(&mut self, exchange: &Exchange, told: &[Told]) {
        let (process, mut again) = (exchange.process, Vec::new());
        for (id, told) in exchange.ids.iter().zip(told) {
            let event = &mut self.events[*id];
            match told {
                Told::Retry => again.push(*id),
                Told::Forgotten => {
                    event.was_forgotten = true;
                    again.push(*id);
                }
                Told::Dropped(_) => {}
                Told::Stored | Told::Warned | Told::Invented => event.acknowledged_to = Some(process),
                Told::OverQuota => {
                    event.is_over_quota |= event.acknowledged_to.is_none();
                    event.acknowledged_to = Some(process);
                }
            }
        }
        if !again.is_empty() && again.len() < exchange.ids.len() {
            self.asks_again(process, again);
        }
    }

    fn answers(&mut self, exchange: &Exchange, fate: &Fate) {
        let now = Instant::now();
        let fresh = exchange.is_fresh;
        if exchange.is_v1 {
            let hint = matches!(fate.reply, Reply::Status { retry_after: Some(_), .. });
            if self.is_not_taken(exchange, fate) && !hint {
                return self.passes_on(exchange);
            }
            if matches!(fate.reply, Reply::Status { status: 401 | 403, .. }) {
                self.may_fall_back(exchange);
            }
        }
        let answered = match fate.answered(fresh) {
            Answered::Failed { by_content, .. } if exchange.is_v1 && fate.is_not_v1() => {
                Answered::Failed { status: 404, by_content, fresh }
            }
            answered => answered,
        };
        if exchange.is_v1 && !fate.told.is_empty() {
            self.processes[exchange.process].capture.speaks_v1 = true;
        } else if exchange.falls_back && answered == Answered::Accepted {
            self.processes[exchange.process].capture.speaks_v1 = false;
        }
        if !fate.told.is_empty() {
            self.is_told(exchange, &fate.told);
        } else if matches!(answered, Answered::Accepted | Answered::OverQuota) {
            for id in &exchange.ids {
                let event = &mut self.events[*id];
                event.is_over_quota |= answered == Answered::OverQuota && event.acknowledged_to.is_none();
                event.acknowledged_to = Some(exchange.process);
            }
        }
        let never_left =
            matches!(fate.reply, Reply::None(ErrorKind::Connect | ErrorKind::Dns | ErrorKind::Tls));
        let hint = match fate.reply {
            Reply::Status { retry_after: Some(hint), .. } => Some(Duration::from_secs(hint.into())),
            _ => None,
        };
        self.ends(exchange, answered, !never_left, hint);
        let longest = self.config.settings().longest_retry_after;
        // Events that failed before are tried on their own, so that what they provoke holds up no others.
        let observed = &mut self.processes[exchange.process];
        if answered == Answered::Accepted {
            observed.probed(None, Some(false), now);
        }
        if let (true, Reply::Status { retry_after: Some(hint), .. }) = (fresh, &fate.reply) {
            // A hint is capped by the configuration.
            let until = now + Duration::from_secs((*hint).into()).min(longest);
            observed.left_alone_until = observed.left_alone_until.max(Some(until));
        }
        self.coverage.count("answer", fate.why.split(" to").next().unwrap_or_default());
    }
}

impl Fate {
    fn answered(&self, fresh: bool) -> Answered {
        let are_all = |is: fn(&Told) -> bool| !self.told.is_empty() && self.told.iter().all(is);
        match &self.reply {
            Reply::Status { status: 200, is_page: false, body, .. } if body.contains("quota_limited") => {
                Answered::OverQuota
            }
            Reply::Status { .. } if are_all(|told| *told == Told::OverQuota) => Answered::OverQuota,
            Reply::Status { .. } if are_all(|told| *told == Told::Retry) => {
                Answered::Failed { status: 503, by_content: self.by_content, fresh }
            }
            Reply::Status { .. } if are_all(|told| !told.is_stored()) => Answered::Nothing,
            Reply::Status { status: 200, is_page: false, .. } => Answered::Accepted,
            Reply::Status { status, .. } => {
                Answered::Failed { status: *status, by_content: self.by_content, fresh }
            }
            Reply::Cut | Reply::None(_) => Answered::Failed { status: 0, by_content: self.by_content, fresh },
        }
    }
}

impl Reply {
    fn into_result(self) -> Result<Answer, Error> {
        let answer = |status, headers, body| Ok(Answer { status, headers, body });
        match self {
            Self::Status { status, is_page, retry_after, body } => {
                let mut headers = HeaderMap::new();
                let kind = if is_page { "text/html" } else { "text/plain" };
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                if let Some(hint) = retry_after {
                    headers.insert(RETRY_AFTER, HeaderValue::from(hint));
                }
                answer(status, headers, Ok(body.into_owned().into_bytes()))
            }
            Self::Cut => answer(200, HeaderMap::new(), Err("the connection was closed".into())),
            Self::None(kind) => Err(Error::new(kind)),
        }
    }
}

fn list(ids: &[usize]) -> String {
    match ids {
        [] => "no event".into(),
        [id] => format!("event {id}"),
        [first, .., last] => format!("{} events ({first} to {last})", ids.len()),
    }
}

/// The tokens of the world, by their numbers.
pub fn token(number: u32) -> String {
    format!("phc_simulated_{number}")
}

fn token_number(token: &str) -> Option<u32> {
    token.strip_prefix("phc_simulated_")?.parse().ok()
}
