use std::array;
use std::collections::VecDeque;

use super::reply::Reply;
use super::request::Route;
use super::state::Shared;

/// What one route answers; from [`FakePostHog::batch`](super::FakePostHog::batch),
/// [`FakePostHog::flags`](super::FakePostHog::flags), [`FakePostHog::definitions`](super::FakePostHog::definitions) and
/// [`FakePostHog::personal_key`](super::FakePostHog::personal_key).
///
/// Each call takes effect at once and hands the script back, so that calls can be chained.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    shared: &'a Shared,
    route: Route,
}

impl<'a> Script<'a> {
    /// Answers one request like this, after those already queued; before the standing reply.
    pub fn then(self, reply: Reply) -> Self {
        let mut state = self.shared.lock();
        state.plans.of(self.route).queue.push_back(reply);
        self
    }

    /// Answers every request like this from now on, once queued replies are used up.
    pub fn always(self, reply: Reply) -> Self {
        self.shared.lock().plans.of(self.route).standing = reply;
        self
    }

    /// Answers by PostHog's rules again and forgets queued replies.
    pub fn recover(self) -> Self {
        *self.shared.lock().plans.of(self.route) = Plan::default();
        self
    }

    pub(super) fn new(shared: &'a Shared, route: Route) -> Self {
        Self { shared, route }
    }
}

/// The scripts of all routes.
pub(super) struct Plans([Plan; Route::COUNT]);

/// One route's script.
pub(super) struct Plan {
    queue: VecDeque<Reply>,
    standing: Reply,
}

impl Plans {
    pub(super) fn always(&mut self, reply: &Reply) {
        for plan in &mut self.0 {
            plan.standing = reply.clone();
        }
    }

    pub(super) fn recover(&mut self) {
        *self = Self::default();
    }

    /// The reply to the next request on this route.
    pub(super) fn next(&mut self, route: Route) -> Reply {
        let plan = self.of(route);
        let queued = plan.queue.pop_front();
        queued.unwrap_or_else(|| plan.standing.clone())
    }

    fn of(&mut self, route: Route) -> &mut Plan {
        &mut self.0[route.index()]
    }
}

impl Default for Plans {
    fn default() -> Self {
        Self(array::from_fn(|_| Plan::default()))
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self { queue: VecDeque::new(), standing: Reply::normal() }
    }
}
