use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Body, Client, ClientBuilder, Request, Response, Url, redirect};
use tokio::task_local;
use tower::util::MapResponseLayer;

use super::Answer;
use super::simulated::{self, Simulated};
use crate::rt::target;
use crate::{Error, ErrorKind};

/// The HTTP clients of one host.
#[derive(Clone, Debug)]
pub struct Http {
    /// Keeps its connections and reuses them.
    pooled: Client,
    /// Keeps no connection, so each of its requests has a new one.
    fresh: Client,
    /// Answers in the place of both, in a simulation.
    simulated: Option<Simulated>,
}

impl Http {
    /// Builds the clients of requests that may take this long.
    pub fn new(host: &Url, request_timeout: Duration) -> reqwest::Result<Self> {
        let is_plain = host.scheme() == "http";
        let with_roots = || builder(host, request_timeout);
        // Redirects are not followed, so nothing but an https proxy ever asks for a certificate here.
        let without_roots = || with_roots().tls_certs_only([]);
        if is_plain && is_loopback(host) {
            return Self::build(without_roots);
        }
        Self::build(with_roots)
            .or_else(|error| if is_plain { Self::build(without_roots) } else { Err(error) })
    }

    fn build(builder: impl Fn() -> ClientBuilder) -> reqwest::Result<Self> {
        let pooled = builder().connector_layer(MapResponseLayer::new(note_connection)).build()?;
        let fresh = builder().pool_max_idle_per_host(0).build()?;
        Ok(Self { pooled, fresh, simulated: simulated::current() })
    }

    /// The client for requests of the SDK.
    pub fn client(&self) -> &Client {
        &self.pooled
    }

    /// Sends a request and reads up to `longest` bytes of the answer.
    ///
    /// A server or a load balancer may close a connection that was idle in the moment in which the next request is on its
    /// way. Then the request is made and sent once more, at once and on a new connection, and only that result counts. All
    /// requests of this API may arrive twice: PostHog counts an event once by its uuid, and the others only ask.
    pub async fn send<R>(&self, request: impl Fn() -> R, longest: usize) -> Result<Answer, Error>
    where
        R: Future<Output = Result<Request, Error>>,
    {
        if let Some(simulated) = &self.simulated {
            return simulated.send(request().await?).await.map(|answer| answer.cut(longest));
        }
        let first = request().await?;
        let mut sent = body_bytes(&first);
        let (mut result, is_fresh) = self.on_pooled(first).await;
        if result.as_ref().is_err_and(Error::is_hang_up) && !is_fresh {
            tracing::debug!(target: target::REQUESTS, "a reused connection was dead: sending again on a new one");
            let again = request().await?;
            sent = body_bytes(&again);
            result = self.fresh.execute(again).await.map_err(Error::from);
        }
        let mut response = result.map_err(|error| failure(error, sent))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(longest - body.len())]),
                Ok(None) => break Ok(body),
                Err(error) => break Err(error.without_url().into()),
            }
            if body.len() == longest {
                break Ok(body);
            }
        };
        Ok(Answer { status, headers, body })
    }

    /// The result, and whether a connection was made for it.
    async fn on_pooled(&self, request: Request) -> (Result<Response, Error>, bool) {
        let attempt = async {
            let result = self.pooled.execute(request).await;
            (result.map_err(Error::from), IS_FRESH.with(Cell::get))
        };
        IS_FRESH.scope(Cell::new(false), attempt).await
    }
}

task_local! {
    /// Whether the request that is being sent has made a connection.
    ///
    /// The HTTP client connects within the future of the request that needs the connection. When another connection becomes
    /// idle first, it finishes the connect in a task of its own, where nothing is noted. So a request that has noted no
    /// connection went out on one that was there before, whatever other requests do at the same time. The reverse can fail:
    /// another connection may become idle between the connect and the first byte. Then the request is not sent again, and
    /// its failure counts.
    static IS_FRESH: Cell<bool>;
}

/// Notes a connection that is made, and passes it on.
fn note_connection<C>(connection: C) -> C {
    let _ = IS_FRESH.try_with(|is_fresh| is_fresh.set(true));
    connection
}

fn body_bytes(request: &Request) -> usize {
    request.body().and_then(Body::as_bytes).map_or(0, <[u8]>::len)
}

fn builder(host: &Url, request_timeout: Duration) -> ClientBuilder {
    let client = Client::builder()
        // Features of reqwest that any crate in the tree switches on would otherwise change how we send. One HTTP/2
        // connection that goes silent carries every request for ever, and the operating system's TLS and another resolver
        // fail in other ways than those that are tested here.
        .http1_only()
        .tls_backend_rustls()
        .no_hickory_dns()
        .connect_timeout(connect_timeout(request_timeout))
        .pool_idle_timeout(LONGEST_IDLE)
        // A token must not travel to a host that it was not sent to.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("posthog-health/", env!("CARGO_PKG_VERSION")));
    if is_loopback(host) { client.no_proxy() } else { client }
}

/// The time for name, connection and TLS together. hyper divides it by the number of addresses that a name has, so one that
/// answers is reached within it, however many before it are silent. Its cap is above the 5 s after which a resolver asks the
/// second name server, and it leaves a part of the request's time for the request.
fn connect_timeout(request_timeout: Duration) -> Duration {
    LONGEST_CONNECT.min(request_timeout.mul_f64(0.6))
}

const LONGEST_CONNECT: Duration = Duration::from_secs(6);

/// Load balancers close a connection that was idle for a minute
/// ([AWS's by default](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html)).
/// We close it first, so that no request meets a closed one.
const LONGEST_IDLE: Duration = Duration::from_secs(50);

/// The URL of an endpoint under the host, which may be a reverse proxy with a path of its own.
pub fn endpoint(host: &Url, path: &str, query: Option<&str>) -> Url {
    let mut url = host.clone();
    url.set_path(&format!("{}{path}", host.path().trim_end_matches('/')));
    url.set_query(query);
    url
}

pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Whether a host is PostHog Cloud's.
pub fn is_cloud(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host == "posthog.com" || host.ends_with(".posthog.com"))
}

/// PostHog answers a batch or a probe with a few bytes. The rest of a longer answer is not read.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// From this size on, a server that hangs up while it receives the body most likely refused the size: it closes after its
/// 413 without reading on, and the client sees the broken pipe first. Old self-hosted servers accept 2 MiB. Well below that
/// a hang-up is only a hang-up.
const LARGE_BODY: usize = 512 * 1024;

/// What a failure to get any answer means after a body of `sent` bytes. It comes from a new connection, as only those tell.
fn failure(error: Error, sent: usize) -> Error {
    if sent >= LARGE_BODY && error.is_hang_up() { error.with_kind(ErrorKind::TooLarge) } else { error }
}

#[cfg(test)]
mod tests;
