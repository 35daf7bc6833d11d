//! The server's thread: the port, and one task for each connection.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::http::{Connection, Unreadable};
use super::reply::{Answer, Delivery, Outgoing};
use super::request::Request;
use super::state::Shared;

const BACKLOG: u32 = 1024;

pub enum Command {
    /// Listen, then say that it is done.
    Accept(mpsc::Sender<()>),
    /// Stop listening and close every connection, then say that it is done.
    Refuse(mpsc::Sender<()>),
    Stop,
}

/// Starts the thread; when this returns, the server listens.
pub fn spawn(shared: Arc<Shared>) -> (SocketAddr, UnboundedSender<Command>, JoinHandle<()>) {
    let (commands, received) = unbounded_channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the fake PostHog");
    let port = {
        let _entered = runtime.enter();
        Port::open_any().expect("a free loopback port")
    };
    let address = port.address().expect("a bound port");
    let thread = thread::Builder::new()
        .name("fake-posthog".to_owned())
        .spawn(move || runtime.block_on(serve(port, received, shared)))
        .expect("a thread for the fake PostHog");
    (address, commands, thread)
}

async fn serve(mut port: Port, mut commands: UnboundedReceiver<Command>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // Sending `done` fails only if the caller has panicked meanwhile.
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Accept(done)) => {
                    port = port.open().expect("the port listens again");
                    let _ = done.send(());
                }
                Some(Command::Refuse(done)) => {
                    port = port.close().await.expect("the port is still ours");
                    connections.shutdown().await;
                    let _ = done.send(());
                }
                Some(Command::Stop) | None => return,
            },
            Ok(stream) = port.accept() => {
                connections.spawn(serve_connection(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The port. A closed port stays bound, so that no other process gets it, but does not listen, so that connections are
/// refused.
enum Port {
    Open(TcpListener),
    Closed(TcpSocket),
}

impl Port {
    fn open_any() -> io::Result<Self> {
        Self::Closed(bind((Ipv4Addr::LOCALHOST, 0).into())?).open()
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open(listener) => listener.local_addr(),
            Self::Closed(socket) => socket.local_addr(),
        }
    }

    fn open(self) -> io::Result<Self> {
        match self {
            Self::Closed(socket) => socket.listen(BACKLOG).map(Self::Open),
            Self::Open(_) => Ok(self),
        }
    }

    async fn close(self) -> io::Result<Self> {
        if let Self::Closed(_) = self {
            return Ok(self);
        }
        let address = self.address()?;
        drop(self);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match bind(address) {
                // A process that is being spawned inherits the port for a moment.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    sleep(Duration::from_millis(1)).await;
                }
                bound => return bound.map(Self::Closed),
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Open(listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Closed(_) => pending().await,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Closed connections linger on the port, and must not block it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Declared before the connection, so that the count falls after the connection has been closed.
    let _open = shared.connection();
    let mut connection = Connection::new(stream);
    loop {
        match exchange(&mut connection, &shared).await {
            Ok(true) => {}
            Ok(false) | Err(Unreadable::Gone | Unreadable::TooLarge(_)) => return,
            Err(Unreadable::Malformed(status)) => {
                // Fails if the client is gone.
                let _ = connection.send(&Answer::empty(status).closing(), true).await;
                return;
            }
        }
    }
}

/// Serves one request. Returns whether the connection stays open.
async fn exchange(connection: &mut Connection, shared: &Shared) -> Result<bool, Unreadable> {
    let head = connection.head().await?;
    let limit = shared.body_limit(&head.path);
    let body = match connection.body(head.length, limit).await {
        Err(Unreadable::TooLarge(size)) => {
            let answer = shared.handle_too_large(Request::unread(head, size));
            connection.send(&answer.closing(), true).await?;
            return Ok(false);
        }
        body => body?,
    };
    let (keep_alive, with_body) = (head.keep_alive, head.method != "HEAD");

    let Outgoing { answer, delay, delivery } = shared.handle(Request::new(head, body));
    if !delay.is_zero() {
        tokio::select! {
            () = sleep(delay) => {}
            () = connection.client_gone() => return Ok(false),
        }
    }

    let half = answer.body.len() / 2;
    match delivery {
        Delivery::Whole => {
            connection.send(&answer, with_body).await?;
            return Ok(keep_alive);
        }
        Delivery::Hang => connection.client_gone().await,
        Delivery::HangAfterHeaders => {
            connection.send_part(&answer, 0).await?;
            connection.client_gone().await;
        }
        Delivery::Close => {}
        Delivery::Reset => connection.reset_on_close()?,
        Delivery::ResetMidBody => {
            connection.send_part(&answer, half).await?;
            connection.reset_on_close()?;
        }
        Delivery::TruncatedBody => connection.send_part(&answer, half).await?,
    }
    Ok(false)
}
