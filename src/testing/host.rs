use std::borrow::Cow;

use super::reply::Answer;
use super::request::{AI_BATCH, Request, Route};

/// What kind of host this is, and what stands in front of it, for [`FakePostHog::set_host`](super::FakePostHog::set_host).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// PostHog's cloud: both capture protocols.
    #[default]
    Cloud,
    /// An older host. It does not know V1 and answers it with this status, 404 or 405, and no body. It has no endpoint for AI
    /// events either.
    WithoutV1(u16),
    /// A proxy in front removes `Authorization`.
    StripsAuthorization,
    /// A proxy in front removes each `PostHog-*` header.
    StripsPostHogHeaders,
    /// A proxy in front passes only `/batch/` and `/flags/…`, and answers the rest with this status, for example 404 or 403,
    /// and a page in HTML.
    PassesOldPaths(u16),
}

impl Host {
    /// The answer to a request that PostHog does not see, or to a path that the host does not know.
    pub(crate) fn answer(self, request: &Request) -> Option<Answer> {
        match self {
            Self::WithoutV1(status) if request.route == Route::CaptureV1 => Some(Answer::empty(status)),
            Self::WithoutV1(_) if request.path == AI_BATCH => Some(Answer::empty(404)),
            Self::PassesOldPaths(status) if !is_old(&request.path) => Some(Answer::page(status)),
            _ => None,
        }
    }

    /// The request as PostHog sees it.
    pub(crate) fn forward(self, request: &Request) -> Cow<'_, Request> {
        let stripped: fn(&str) -> bool = match self {
            Self::StripsAuthorization => |name| name == "authorization",
            Self::StripsPostHogHeaders => |name| name.starts_with("posthog-"),
            Self::Cloud | Self::WithoutV1(_) | Self::PassesOldPaths(_) => return Cow::Borrowed(request),
        };
        let mut request = request.clone();
        request.headers.retain(|(name, _)| !stripped(name));
        Cow::Owned(request)
    }
}

fn is_old(path: &str) -> bool {
    matches!(path, "/batch" | "/batch/" | "/flags") || path.starts_with("/flags/")
}
