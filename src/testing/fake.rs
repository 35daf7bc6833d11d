use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;

use super::reply::Reply;
use super::request::Route;
use super::script::Script;
use super::server::{self, Command};
use super::state::Shared;

/// An in-process PostHog on a loopback port; the [module](super) tells how to use it.
///
/// It runs on a thread of its own, so that it serves blocking and async callers alike and never competes with the runtime
/// under test. Dropping it closes every connection and ends the thread.
pub struct FakePostHog {
    address: SocketAddr,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
    pub(super) shared: Arc<Shared>,
}

impl FakePostHog {
    /// A project token that the server knows from the start.
    pub const TOKEN: &str = "phc_fakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak";

    /// A secret key that the server knows from the start.
    pub const SECRET_KEY: &str = "phs_fakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak";

    /// Starts a server on a free port of `127.0.0.1`.
    ///
    /// # Panics
    ///
    /// If the system gives it no thread or no port.
    #[must_use = "the server stops when it is dropped"]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::new(Self::TOKEN, Self::SECRET_KEY));
        let (address, commands, thread) = server::spawn(Arc::clone(&shared));
        Self { address, commands, thread: Some(thread), shared }
    }

    /// Where it listens: `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes `/flags/` accept this project token.
    ///
    /// `/batch/` accepts any token of the right shape, as PostHog does: events sent under an unknown one vanish there.
    pub fn know_token(&self, token: &str) {
        let mut state = self.shared.lock();
        state.rules.tokens.insert(token.to_owned());
        state.rules.revoked.remove(token);
    }

    /// Makes `/flags/` answer 401 to this project token.
    pub fn forget_token(&self, token: &str) {
        self.shared.lock().rules.tokens.remove(token);
    }

    /// Makes `/flags/` and `/batch/` answer 401 to this project token, until it is [known](Self::know_token) again.
    ///
    /// PostHog's `/batch/` takes the events of such a token and throws them away, as
    /// [`forget_token`](Self::forget_token) has it; this is a stricter one.
    pub fn revoke_token(&self, token: &str) {
        let mut state = self.shared.lock();
        state.rules.tokens.remove(token);
        state.rules.revoked.insert(token.to_owned());
    }

    /// Makes `/flags/definitions/` accept this secret key, of whatever kind. Several may be known: a rotated project
    /// secret key and its backup are.
    pub fn know_secret_key(&self, key: &str) {
        self.shared.lock().rules.secret_keys.insert(key.to_owned());
    }

    /// Makes `/flags/definitions/` answer 401 to this secret key: it, or its backup, was deleted.
    pub fn forget_secret_key(&self, key: &str) {
        self.shared.lock().rules.secret_keys.remove(key);
    }

    /// Makes `/api/personal_api_keys/@current/` answer to this personal API key (`phx_…`): what it may do, and when it was
    /// last used (RFC 3339). It answers 401 to any other.
    pub fn know_personal_key(&self, key: &str, scopes: &[&str], last_used_at: Option<&str>) {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let known = (scopes, last_used_at.map(str::to_owned));
        self.shared.lock().rules.personal_keys.insert(key.to_owned(), known);
    }

    /// Sets the server's clock so many seconds ahead of this machine's, or behind it: the `Date` of its answers. A reply
    /// with a `Date` of its own keeps that.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.shared.lock().clock_ahead = seconds;
    }

    /// Sets the largest body accepted, in bytes on the wire, that is after compression; 20 MiB at the start.
    ///
    /// A larger one gets a 413 while the client still writes, and the connection closes: a client may see a broken pipe
    /// or a reset instead of the answer, as it may with PostHog.
    pub fn limit_body(&self, bytes: usize) {
        self.shared.lock().body_limit = bytes;
    }

    /// Says whether the project is over its billing quota: `/batch/` then answers 200 with `quota_limited` and drops
    /// the events, and `/flags/` evaluates nothing.
    pub fn limit_quota(&self, limited: bool) {
        self.shared.lock().rules.over_quota = limited;
    }

    /// Gives everybody this flag: on (`true`), off (`false`), or a variant (`"blue"`). So do its definitions.
    pub fn set_flag(&self, key: &str, value: impl Into<serde_json::Value>) {
        self.shared.lock().rules.flags.insert(key.to_owned(), value.into());
    }

    /// Rejects events of these names (400), and as PostHog does their whole batches with them: poison that no
    /// client can tell beforehand. No name, the default, rejects none.
    pub fn reject_events_named(&self, names: &[&str]) {
        self.shared.lock().rules.rejected_names = names.iter().map(|&name| name.to_owned()).collect();
    }

    /// Says whether to keep request bodies, and with them [`events`](Self::events); it does at the start.
    ///
    /// Switched off, memory stays small through a long run, and every count stays exact.
    pub fn keep_bodies(&self, keep: bool) {
        self.shared.lock().keep_bodies = keep;
    }

    /// Answers every request on every route like this from now on, once queued replies are used up.
    pub fn always(&self, reply: Reply) {
        self.shared.lock().plans.always(&reply);
    }

    /// The script of `/batch/`.
    pub fn batch(&self) -> Script<'_> {
        Script::new(&self.shared, Route::Batch)
    }

    /// The script of `/api/personal_api_keys/@current/`.
    pub fn personal_key(&self) -> Script<'_> {
        Script::new(&self.shared, Route::PersonalApiKey)
    }

    /// The script of `/flags/`.
    pub fn flags(&self) -> Script<'_> {
        Script::new(&self.shared, Route::Flags)
    }

    /// The script of `/flags/definitions/`.
    pub fn definitions(&self) -> Script<'_> {
        Script::new(&self.shared, Route::Definitions)
    }

    /// Goes down: refuses new connections and closes those that are open. When this returns, it is done.
    ///
    /// # Panics
    ///
    /// If the port was taken by somebody else in the moment between its closing and its being held again.
    pub fn refuse(&self) {
        self.command(Command::Refuse);
    }

    /// Comes up again after [`refuse`](Self::refuse), on the same port; scripts stay as they are.
    ///
    /// # Panics
    ///
    /// If the system does not let it listen again.
    pub fn accept(&self) {
        self.command(Command::Accept);
    }

    /// Ends the outage: listens, and answers by PostHog's rules on every route. Queued replies are forgotten.
    ///
    /// Requests left hanging go on hanging. Tokens, limits and the quota stay: they belong to the project, not to the outage.
    ///
    /// # Panics
    ///
    /// As [`accept`](Self::accept).
    pub fn recover(&self) {
        self.shared.lock().plans.recover();
        self.accept();
    }

    fn command(&self, command: fn(mpsc::Sender<()>) -> Command) {
        let (done, outcome) = mpsc::channel();
        // A server that has gone drops `done` with the command: the wait below reports it.
        let _ = self.commands.send(command(done));
        outcome.recv().expect("the fake PostHog's thread runs");
    }
}

impl fmt::Debug for FakePostHog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakePostHog").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Drop for FakePostHog {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; a second one here would abort the test.
            let _ = thread.join();
        }
    }
}
