//! A PostHog in a process of its own that does hardly anything while others are measured: it keeps what it gets,
//! as it comes, and looks into it when asked what it got.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Result, Write, stdin};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde::{Deserialize, Serialize};

use super::process::{Process, tell};

pub(crate) const ROLE: &str = "sink";

/// The other end of one.
pub(crate) struct Sink {
    process: Process,
    pub(crate) url: String,
}

/// What it got.
#[derive(Serialize, Deserialize)]
pub(crate) struct Got {
    pub(crate) requests: usize,
    /// Heads and bodies, as they came.
    pub(crate) bytes: usize,
    pub(crate) events: usize,
    /// Uuids.
    pub(crate) distinct: usize,
    pub(crate) user_agent: String,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let mut process = Process::start(ROLE, &[]);
        Self { url: process.told(), process }
    }

    /// From now on no request is answered; those that come wait.
    pub(crate) fn hang(&mut self) {
        self.process.tell("hang");
        self.process.told::<()>();
    }

    /// Answers those that wait, and all that come.
    pub(crate) fn recover(&mut self) {
        self.process.tell("recover");
        self.process.told::<()>();
    }

    pub(crate) fn got(&mut self) -> Got {
        self.process.tell("count");
        self.process.told()
    }
}

/// One request.
#[derive(Default)]
struct Request {
    head_bytes: usize,
    user_agent: String,
    gzip: bool,
    is_v1: bool,
    length: usize,
    body: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    hangs: Mutex<bool>,
    recovered: Condvar,
}

/// What the process of that role does.
pub(crate) fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    tell(&format!("http://{}", listener.local_addr().expect("a bound socket")));
    let shared = Arc::new(Shared::default());
    let serving = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&serving);
            // It ends when the client hangs up.
            thread::spawn(move || shared.serve(stream));
        }
    });
    for line in stdin().lines() {
        match line.expect("a pipe").as_str() {
            "count" => tell(&shared.count()),
            word => {
                *shared.hangs.lock().expect("no panic") = word == "hang";
                shared.recovered.notify_all();
                tell(&());
            }
        }
    }
}

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"status\":\"Ok\"}";

impl Shared {
    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let mut line = String::new();
        loop {
            let mut request = Request::default();
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                request.head_bytes += line.len();
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    // The request line, or the end of the head.
                    request.is_v1 |= line.contains("/i/v1/");
                    if line == "\r\n" { break } else { continue }
                };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => request.length = value.parse().expect("a number"),
                    "content-encoding" => request.gzip = value == "gzip",
                    "user-agent" => request.user_agent = value.to_owned(),
                    _ => {}
                }
            }
            let mut body = Vec::with_capacity(request.length);
            reader.by_ref().take(request.length as u64).read_to_end(&mut body)?;
            request.body = body;
            let answer = if request.is_v1 { request.verdicts() } else { OK.to_vec() };
            self.requests.lock().expect("no panic").push(request);
            let hangs = self.hangs.lock().expect("no panic");
            drop(self.recovered.wait_while(hangs, |hangs| *hangs).expect("no panic"));
            reader.get_mut().write_all(&answer)?;
        }
    }

    fn count(&self) -> Got {
        let requests = self.requests.lock().expect("no panic");
        let uuids: Vec<u128> = requests.iter().flat_map(Request::uuids).collect();
        Got {
            requests: requests.len(),
            bytes: requests.iter().map(|request| request.head_bytes + request.body.len()).sum(),
            events: uuids.len(),
            user_agent: requests.first().map(|request| request.user_agent.clone()).unwrap_or_default(),
            distinct: uuids.into_iter().collect::<HashSet<_>>().len(),
        }
    }
}

impl Request {
    /// V1's answer: each event is stored.
    fn verdicts(&self) -> Vec<u8> {
        let json = self.json();
        let results: serde_json::Map<_, _> = (batch(&json).into_iter())
            .map(|event| (event.uuid.to_owned(), serde_json::json!({"result": "ok"})))
            .collect();
        let body = serde_json::json!({ "results": results }).to_string();
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        (head + &body).into_bytes()
    }

    fn uuids(&self) -> Vec<u128> {
        let uuid = |event: Event<'_>| u128::from_str_radix(&event.uuid.replace('-', ""), 16).expect("a uuid");
        batch(&self.json()).into_iter().map(uuid).collect()
    }

    fn json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        if self.gzip {
            flate2::read::GzDecoder::new(&*self.body).read_to_end(&mut json).expect("gzip");
        } else {
            json.extend_from_slice(&self.body);
        }
        json
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    uuid: &'a str,
}

fn batch(json: &[u8]) -> Vec<Event<'_>> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        batch: Vec<Event<'a>>,
    }
    let batch: Batch<'_> = serde_json::from_slice(json).expect("a batch");
    batch.batch
}
