//! The server's thread: who may come in, and one conversation for each who did.

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

pub(super) enum Command {
    /// Listen, then say that it is done.
    Accept(mpsc::Sender<()>),
    /// Stop listening and close every connection, then say that it is done.
    Refuse(mpsc::Sender<()>),
    Stop,
}

/// Starts the thread; when this returns, the server listens.
pub(super) fn spawn(shared: Arc<Shared>) -> (SocketAddr, UnboundedSender<Command>, JoinHandle<()>) {
    let (commands, received) = unbounded_channel();
    let (tell_address, address) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("fake-posthog".to_owned())
        .spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the fake PostHog");
            runtime.block_on(async {
                let door = Door::open_somewhere().expect("a free loopback port");
                // Fails only if the caller has panicked meanwhile.
                let _ = tell_address.send(door.address().expect("a bound port"));
                serve(door, received, shared).await;
            });
        })
        .expect("a thread for the fake PostHog");
    let address = address.recv().expect("the fake PostHog starts");
    (address, commands, thread)
}

async fn serve(mut door: Door, mut commands: UnboundedReceiver<Command>, shared: Arc<Shared>) {
    let mut conversations = JoinSet::new();
    loop {
        // Sending `done` fails only if the caller has panicked meanwhile.
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Accept(done)) => {
                    door = door.open().expect("the port listens again");
                    let _ = done.send(());
                }
                Some(Command::Refuse(done)) => {
                    door = door.shut().await.expect("the port is still ours");
                    conversations.shutdown().await;
                    let _ = done.send(());
                }
                Some(Command::Stop) | None => return,
            },
            Ok(stream) = door.visitor() => {
                conversations.spawn(converse(stream, Arc::clone(&shared)));
            }
            Some(_) = conversations.join_next() => {}
        }
    }
}

/// The port. Shut, it stays bound, so that nobody else gets it, but does not listen, so that connecting is refused.
enum Door {
    Open(TcpListener),
    Shut(TcpSocket),
}

impl Door {
    fn open_somewhere() -> io::Result<Self> {
        Self::Shut(bind((Ipv4Addr::LOCALHOST, 0).into())?).open()
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open(listener) => listener.local_addr(),
            Self::Shut(socket) => socket.local_addr(),
        }
    }

    fn open(self) -> io::Result<Self> {
        match self {
            Self::Shut(socket) => socket.listen(BACKLOG).map(Self::Open),
            Self::Open(_) => Ok(self),
        }
    }

    async fn shut(self) -> io::Result<Self> {
        if let Self::Shut(_) = self {
            return Ok(self);
        }
        let address = self.address()?;
        drop(self);
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            match bind(address) {
                // A process that is being started inherits the port for a moment.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => {
                    sleep(Duration::from_millis(1)).await;
                }
                bound => return bound.map(Self::Shut),
            }
        }
    }

    async fn visitor(&self) -> io::Result<TcpStream> {
        match self {
            Self::Open(listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Shut(_) => pending().await,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Closed connections linger on the port: they must not keep us from it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    // Before the connection, so that it is dropped, and the count falls, after that has been closed.
    let _open = shared.connection();
    let mut connection = Connection::new(stream);
    loop {
        match exchange(&mut connection, &shared).await {
            Ok(true) => {}
            Ok(false) | Err(Unreadable::Gone | Unreadable::TooLarge(_)) => return,
            Err(Unreadable::Malformed(status)) => {
                // The client may be gone: then nobody misses the answer.
                let _ = connection.send(&Answer::empty(status).closing(), true).await;
                return;
            }
        }
    }
}

/// One request and its answer; whether the connection goes on.
async fn exchange(connection: &mut Connection, shared: &Shared) -> Result<bool, Unreadable> {
    let head = connection.head().await?;
    let limit = shared.lock().body_limit;
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
