//! Five requests that are not billed, one after the other.

use std::time::{Duration, SystemTime};

use reqwest::Url;
use reqwest::header::{DATE, LOCATION};
use tokio::time::{Instant, timeout_at};

use super::check::CheckId;
use super::clock::Sample;
use super::http;
use crate::api::{Answer, endpoint};
use crate::credentials::ProjectToken;
use crate::{Error, ErrorKind};

pub const IDS: &[CheckId] =
    &[CheckId::TokenAccepted, CheckId::Http, CheckId::Answer, CheckId::Latency, CheckId::Clock];

/// The limit of one request, and of all.
const LONGEST: Duration = Duration::from_secs(4);
const LONGEST_OF_ALL: Duration = Duration::from_millis(8_500);
const PROBES: usize = 5;

/// The result of one request.
#[derive(Debug)]
pub struct Probed {
    pub took: Duration,
    pub answer: Result<Answered, Error>,
    pub clock: Option<Sample>,
}

#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    /// What the answer means to a client.
    pub meaning: Result<(), ErrorKind>,
    /// Whether the body looks like PostHog's.
    pub is_posthogs: bool,
    /// The host that a redirect goes to.
    pub location: Option<String>,
}

/// Asks until five requests were answered, one was not, or the time is over.
pub async fn probe(host: &Url, token: Option<&ProjectToken>) -> Vec<Probed> {
    let end = Instant::now() + LONGEST_OF_ALL;
    let stand_in = ProjectToken::stand_in();
    let api = match http::api(host, token.unwrap_or(&stand_in).clone()).await {
        Ok(api) => api,
        Err(error) => return vec![Probed { took: Duration::ZERO, answer: Err(error), clock: None }],
    };
    let mut probed = Vec::with_capacity(PROBES);
    while probed.len() < PROBES {
        let (started, sent) = (Instant::now(), SystemTime::now());
        let asked = async {
            match token {
                Some(token) => api.ask_probe(token).await,
                // PostHog answers a GET before it looks at any token.
                None => http::get(&endpoint(host, "/flags/", None), None).await,
            }
        };
        let answer = match timeout_at(end.min(started + LONGEST), asked).await {
            Ok(answer) => answer,
            // The answers are slow, but they arrive, so enough is known.
            Err(_) if started + LONGEST > end && !probed.is_empty() => break,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout).with_source(elapsed)),
        };
        let took = started.elapsed();
        let clock = answer.as_ref().ok().and_then(date).map(|server| Sample { sent, took, server });
        let answer = answer.map(|answer| Answered::read(answer, token));
        let is_over = answer.is_err();
        probed.push(Probed { took, answer, clock });
        if is_over {
            break;
        }
    }
    probed
}

pub fn date(answer: &Answer) -> Option<SystemTime> {
    httpdate::parse_http_date(answer.headers.get(DATE)?.to_str().ok()?).ok()
}

impl Answered {
    pub fn read(answer: Answer, token: Option<&ProjectToken>) -> Self {
        let status = answer.status;
        let body: serde_json::Value =
            answer.body.as_ref().ok().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        // The answer to a GET is not documented.
        let is_posthogs =
            token.is_none() || ["flags", "featureFlags"].iter().any(|member| body.get(member).is_some());
        let stand_in = ProjectToken::stand_in();
        let token = token.unwrap_or(&stand_in);
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            // Only the host, because the rest may carry anything.
            let host = Url::parse(value).ok()?.host_str()?.to_owned();
            // The names of hosts are in lower case.
            Some(host.replace(&token.expose().to_lowercase(), "[token]"))
        });
        let meaning = answer.read_probe(token).map_err(|error| error.kind());
        Self { status, meaning, is_posthogs, location }
    }
}
