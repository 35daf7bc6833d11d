use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;

use super::host::Host;
use super::reply::Reply;
use super::request::Route;
use super::script::{Plans, Script};
use super::server::{self, Command};
use super::state::Shared;

/// An in-process PostHog on a loopback port. The [module](super) explains its use.
///
/// The server runs on a thread of its own, so that it serves blocking and async callers alike and never competes with the
/// runtime under test. Dropping it closes every connection and ends the thread.
pub struct FakePostHog {
    address: SocketAddr,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
    pub(crate) shared: Arc<Shared>,
}

impl FakePostHog {
    /// A project token that the server knows from the start.
    pub const TOKEN: &str = "phc_fakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak";

    /// A secret key that the server knows from the start.
    pub const SECRET_KEY: &str = "phs_fakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak";

    /// The body limit of an old self-hosted PostHog, 2 MiB, for [`limit_body`](Self::limit_body).
    pub const OLD_BODY_LIMIT: usize = 2 * 1024 * 1024;

    /// Starts a server on a free port of `127.0.0.1`.
    ///
    /// # Panics
    ///
    /// Panics if the system provides no thread or no port.
    #[must_use = "the server stops when it is dropped"]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::new(Self::TOKEN, Self::SECRET_KEY));
        let (address, commands, thread) = server::spawn(Arc::clone(&shared));
        Self { address, commands, thread: Some(thread), shared }
    }

    /// Returns the server's URL, `http://127.0.0.1:PORT`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what kind of host this is, and what stands in front of it. Replies that are not [normal](Reply::normal) go first.
    pub fn set_host(&self, host: Host) {
        self.shared.lock().rules.host = host;
    }

    /// Makes `/flags/` accept this project token.
    ///
    /// Capture accepts any token of the right shape, as PostHog does, and discards the events of an unknown token.
    pub fn know_token(&self, token: &str) {
        let mut state = self.shared.lock();
        state.rules.tokens.insert(token.to_owned());
        state.rules.revoked.remove(token);
    }

    /// Makes `/flags/` answer 401 to this project token.
    pub fn forget_token(&self, token: &str) {
        self.shared.lock().rules.tokens.remove(token);
    }

    /// Makes `/flags/` and capture answer 401 to this project token, until it is [known](Self::know_token) again.
    ///
    /// This is stricter than PostHog, whose capture accepts and discards the events of such a token, as after
    /// [`forget_token`](Self::forget_token).
    pub fn revoke_token(&self, token: &str) {
        let mut state = self.shared.lock();
        state.rules.tokens.remove(token);
        state.rules.revoked.insert(token.to_owned());
    }

    /// Makes `/flags/definitions/` accept this secret key of any kind. Several keys may be known at once, for example a
    /// rotated project secret key and its backup.
    pub fn know_secret_key(&self, key: &str) {
        self.shared.lock().rules.secret_keys.insert(key.to_owned());
    }

    /// Makes `/flags/definitions/` answer 401 to this secret key, as after its deletion.
    pub fn forget_secret_key(&self, key: &str) {
        self.shared.lock().rules.secret_keys.remove(key);
    }

    /// Makes `/api/personal_api_keys/@current/` answer to this personal API key (`phx_…`) with its scopes and its last use
    /// (RFC 3339). Any other key gets 401.
    pub fn know_personal_key(&self, key: &str, scopes: &[&str], last_used_at: Option<&str>) {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let known = (scopes, last_used_at.map(str::to_owned));
        self.shared.lock().rules.personal_keys.insert(key.to_owned(), known);
    }

    /// Sets the server's clock, which is the `Date` of its answers, this many seconds ahead of the machine's clock, or behind
    /// it if negative. A reply's own `Date` has precedence.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.shared.lock().clock_ahead = seconds;
    }

    /// Sets the largest body accepted, in bytes on the wire, after compression. The default is 20 MiB.
    /// Capture V1 accepts 10 MiB at most, and 50 MiB after decompression.
    ///
    /// A larger body gets a 413 while the client still writes, and the connection closes. As with PostHog, a client may see a
    /// broken pipe or a reset instead of the answer.
    pub fn limit_body(&self, bytes: usize) {
        self.shared.lock().body_limit = bytes;
    }

    /// Sets whether the project is over its billing quota. If so, `/batch/` answers 200 with `quota_limited` and drops
    /// the events, capture V1 answers 402, and `/flags/` evaluates nothing.
    pub fn limit_quota(&self, limited: bool) {
        self.shared.lock().rules.over_quota = limited;
    }

    /// Sets a flag for every person: on (`true`), off (`false`), or a variant (`"blue"`). The definitions contain the flag
    /// too.
    pub fn set_flag(&self, key: &str, value: impl Into<serde_json::Value>) {
        self.shared.lock().rules.flags.insert(key.to_owned(), value.into());
    }

    /// Rejects events of these names: in V0 with 400, and their whole batches with them, and in V1 with the verdict `drop`, as
    /// PostHog does. A client cannot recognize such events beforehand. By default no event is rejected.
    pub fn reject_events_named(&self, names: &[&str]) {
        self.shared.lock().rules.rejected_names = names.iter().map(|&name| name.to_owned()).collect();
    }

    /// Answers each batch that contains an event of this name with `reply`, as a firewall or a proxy does that dislikes the
    /// content of an event. The batch's other events are not accepted either. Queued and standing replies of the
    /// [script](Self::batch) go first, unless they are [normal](Reply::normal).
    pub fn reply_to_events_named(&self, name: &str, reply: Reply) {
        self.shared.lock().rules.replies.insert(name.to_owned(), reply);
    }

    /// Sets whether request bodies, and with them [`events`](Self::events), are kept. By default they are.
    ///
    /// Without bodies, memory stays small during a long run, and all counts stay exact.
    pub fn keep_bodies(&self, keep: bool) {
        self.shared.lock().keep_bodies = keep;
    }

    /// Sets the standing reply of every route, which answers once the queued replies are used up.
    pub fn always(&self, reply: Reply) {
        self.shared.lock().plans.always(&reply);
    }

    /// Returns the script of `/batch/`.
    pub fn batch(&self) -> Script<'_> {
        Script::new(&self.shared, Route::Batch)
    }

    /// Returns the script of `/i/v1/analytics/events`.
    pub fn capture_v1(&self) -> Script<'_> {
        Script::new(&self.shared, Route::CaptureV1)
    }

    /// Returns the script of `/api/personal_api_keys/@current/`.
    pub fn personal_key(&self) -> Script<'_> {
        Script::new(&self.shared, Route::PersonalApiKey)
    }

    /// Returns the script of `/flags/`.
    pub fn flags(&self) -> Script<'_> {
        Script::new(&self.shared, Route::Flags)
    }

    /// Returns the script of `/flags/definitions/`.
    pub fn definitions(&self) -> Script<'_> {
        Script::new(&self.shared, Route::Definitions)
    }

    /// Takes the server down: refuses new connections and closes the open ones. Both are done when this returns.
    ///
    /// # Panics
    ///
    /// Panics if another process took the port in the moment between its closing and its rebinding.
    pub fn refuse(&self) {
        self.command(Command::Refuse);
    }

    /// Takes the server up again after [`refuse`](Self::refuse), on the same port. Scripts stay as they are.
    ///
    /// # Panics
    ///
    /// Panics if the system does not let the server listen again.
    pub fn accept(&self) {
        self.command(Command::Accept);
    }

    /// Ends the outage: the server listens, and answers by PostHog's rules on every route. Queued replies are discarded.
    ///
    /// Requests that hang continue to hang. Tokens, limits, the quota and the host stay, because they belong to the project and
    /// not to the outage.
    ///
    /// # Panics
    ///
    /// Panics as [`accept`](Self::accept) does.
    pub fn recover(&self) {
        self.shared.lock().plans = Plans::default();
        self.accept();
    }

    fn command(&self, command: fn(mpsc::Sender<()>) -> Command) {
        let (done, outcome) = mpsc::channel();
        // If the server is gone, `done` is dropped with the command, and the wait below panics.
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
            // A panic of the thread was already printed, and a second one here would abort the test.
            let _ = thread.join();
        }
    }
}
