use std::collections::VecDeque;

use super::reply::Reply;
use super::request::Route;
use super::state::Shared;

/// The answers of one route, from [`FakePostHog::batch`](super::FakePostHog::batch),
/// [`FakePostHog::capture_v1`](super::FakePostHog::capture_v1), [`FakePostHog::flags`](super::FakePostHog::flags), [`FakePostHog::definitions`](super::FakePostHog::definitions) and
/// [`FakePostHog::personal_key`](super::FakePostHog::personal_key).
///
/// Each call takes effect at once and returns the script, so that calls can be chained.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    shared: &'a Shared,
    route: Route,
}

impl<'a> Script<'a> {
    /// Queues this reply for one request, after the replies already queued. Queued replies precede the standing reply.
    pub fn then(self, reply: Reply) -> Self {
        let mut state = self.shared.lock();
        state.plans.of(self.route).queue.push_back(reply);
        self
    }

    /// Sets the standing reply, which answers every request once the queued replies are used up.
    pub fn always(self, reply: Reply) -> Self {
        self.shared.lock().plans.of(self.route).standing = Some(reply);
        self
    }

    /// Answers by PostHog's rules again and forgets queued replies.
    pub fn recover(self) -> Self {
        *self.shared.lock().plans.of(self.route) = Plan::default();
        self
    }

    pub(crate) fn new(shared: &'a Shared, route: Route) -> Self {
        Self { shared, route }
    }
}

/// The scripts of all routes.
#[derive(Default)]
pub struct Plans([Plan; Route::COUNT]);

/// One route's script.
#[derive(Default)]
struct Plan {
    queue: VecDeque<Reply>,
    standing: Option<Reply>,
}

impl Plans {
    pub fn always(&mut self, reply: &Reply) {
        for plan in &mut self.0 {
            plan.standing = Some(reply.clone());
        }
    }

    /// Returns the reply to the next request on this route.
    pub fn next(&mut self, route: Route) -> Reply {
        let plan = self.of(route);
        plan.queue.pop_front().or_else(|| plan.standing.clone()).unwrap_or_else(Reply::normal)
    }

    fn of(&mut self, route: Route) -> &mut Plan {
        &mut self.0[route.index()]
    }
}
