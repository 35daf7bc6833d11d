use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::ConfigError;
use crate::rt::named;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// The check's name.
    pub id: CheckId,
    /// How it ended.
    pub status: CheckStatus,
    /// What was seen, or why the check was skipped. Never a secret.
    pub seen: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do about it. `None` if there is nothing to do.
    pub remedy: Option<Cow<'static, str>>,
}

named! {
    /// How a check ended.
    #[derive(Hash)]
    #[allow(clippy::exhaustive_enums, reason = "a reader of a report must know what each status asks for")]
    pub enum CheckStatus {
        /// As it should be.
        Pass = "pass",
        /// It works, but somebody should look at it. Exit code 1 under `--strict`.
        Warn = "warn",
        /// Do not go live. Exit code 2.
        Fail = "fail",
        /// Not checked, because there is nothing to check or nobody asked for it. This is no fault.
        Skipped = "skipped",
    }
}

/// What a check found, without the check's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub status: CheckStatus,
    pub seen: String,
    pub remedy: Option<Cow<'static, str>>,
}

/// The findings of several checks.
pub type Findings = Vec<(CheckId, Finding)>;

impl Finding {
    pub fn pass(seen: impl Into<String>) -> Self {
        Self { status: CheckStatus::Pass, seen: seen.into(), remedy: None }
    }

    pub fn warn(seen: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CheckStatus::Warn, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(seen: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { status: CheckStatus::Fail, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    pub fn skipped(why: impl Into<String>) -> Self {
        Self { status: CheckStatus::Skipped, seen: why.into(), remedy: None }
    }

    /// Makes a warning of a check that passed, if there is a reason to.
    pub fn warn_if(self, is_reason: bool, remedy: &'static str) -> Self {
        if is_reason && self.status == CheckStatus::Pass { Self::warn(self.seen, remedy) } else { self }
    }

    /// A value that the configuration refuses.
    pub fn refused(error: &ConfigError) -> Self {
        Self::fail(format!("{} {}", error.field(), error.problem()), error.remedy().to_owned())
    }

    pub fn no_host() -> Self {
        Self::skipped("there is no host to ask: see config.host")
    }

    pub fn of(self, id: CheckId) -> Check {
        let Self { status, seen, remedy } = self;
        Check { id, status, seen: plain(&seen), why: id.why(), remedy }
    }
}

/// In characters. Longer than any text of our own.
const LONGEST: usize = 400;

/// Removes control characters and limits the length, because a part of the text may be a server's own words.
fn plain(seen: &str) -> String {
    seen.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// Formats a count: `1 file`, `2 files`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

macro_rules! checks {
    ($($id:ident $name:literal $why:literal)*) => {
        /// A check. Its name is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[non_exhaustive]
        pub enum CheckId {
            $(#[doc = concat!("`", $name, "`. ", $why)] #[serde(rename = $name)] $id,)*
        }

        impl CheckId {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            /// The name in JSON and in the table.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$id => $name,)* }
            }

            /// Why it matters.
            pub fn why(self) -> &'static str {
                match self { $(Self::$id => $why,)* }
            }
        }
    };
}

checks! {
    Settings "config.settings" "A client that cannot be built does not start."
    Enabled "config.enabled" "A disabled client takes every event and sends none."
    Token "config.token" "Events of a wrong token vanish, and a secret key in its place is shown to whoever sees a request."
    TokenSource "config.token_source" "A key in the code is in every build and every clone, and a new one needs a release."
    SecretFiles "config.secret_files" "Who may read the file has the secret, and who may write it sends your events elsewhere."
    TokenAccepted "config.token_accepted" "PostHog's capture answers 200 to a token that it does not know, and throws the events away."
    Host "config.host" "Events go where the host says, readable on the way unless it is https."
    KeyScopes "config.key_scopes" "A stolen key can do all that its scopes allow."
    KeyUse "config.key_use" "A key that nobody uses is only good to be stolen."
    WebhookUrl "webhook.url" "PostHog does not insist on https, and cannot reach a private address."
    WebhookCertificate "webhook.certificate" "PostHog calls no endpoint that it cannot trust."
    WebhookSecret "webhook.secret" "PostHog signs only with a secret; without one, anybody can call the webhook."
    RateLimit "integration.rate_limit" "A runaway loop must not become a storm of requests."
    Backoff "integration.backoff" "Retries without pause and jitter keep a service down that tries to come back."
    Logs "integration.logs" "What goes wrong at night is told in log lines, if somebody takes them."
    HealthRoute "integration.health_route" "A gate or a probe asks it, and nobody notices that it is missing until then."
    Alerts "integration.alerts" "An alert that is off wakes nobody."
    Breaker "integration.breaker" "It keeps an outage of PostHog from becoming work for the service."
    Timeouts "integration.timeouts" "Times that contradict each other lose events at each deployment."
    Spool "integration.spool" "A spool that cannot be written is none, on the day that it is needed."
    Queue "integration.queue" "A queue that is too small for the traffic loses events in the first seconds of an outage."
    Runbook "docs.runbook" "Who is woken at night has no time to find out."
    KeyRotation "docs.key_rotation" "A key must be changed on the day that it leaks."
    Rollback "docs.rollback" "The way back must be known before the way forward is taken."
    Escalation "docs.escalation" "Somebody must know whom to call."
    Proxy "network.proxy" "A proxy sees where everything goes, and fails in its own ways."
    Dns "network.dns" "Without a name no address."
    Tcp "network.tcp" "A firewall that forgets PostHog looks like an outage of PostHog."
    Tls "network.tls" "Whoever can show another certificate reads every event."
    Certificate "network.certificate" "An expired certificate is an outage with a date."
    Http "network.http" "PostHog, or what is in front of it, must answer."
    Answer "network.answer" "A login page answers 200 too."
    Latency "network.latency" "Slow answers fill the queue."
    Clock "network.clock" "A wrong clock moves the time of what this machine stamps and judges."
    CaptureV1 "network.capture_v1" "Only capture V1 says of each event whether PostHog stored it."
    StatusPage "status.page" "Whether it is theirs or ours decides whom to call. Advice, never decisive."
    TestEvent "integration.test_event" "The one proof that an event arrives is an event that arrives."
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
