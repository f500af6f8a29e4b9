//! [`Relay`]: stands between clients and a server, keeps one address while the server changes its port, counts what goes
//! to the server and holds it back at a chosen byte. With it, "in the middle of a backup" is a number and not a moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::{PATIENCE, Server};

/// Forwards connections until it is dropped.
pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: AtomicU16,
    is_over: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Bytes given to servers, TLS included.
    forwarded: u64,
    /// When so many were, the rest waits.
    hold_at: u64,
    connections: Vec<TcpStream>,
}

impl Relay {
    pub(crate) fn new(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let state = State { forwarded: 0, hold_at: u64::MAX, connections: Vec::new() };
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(server.port()),
            is_over: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let accepted = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accepted.accept(&listener));
        Self { port, shared, accepting: Some(accepting) }
    }

    /// Where clients find it, for an enrolment.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// New connections go to this server from now on.
    pub(crate) fn lead_to(&self, server: &Server) {
        self.shared.upstream.store(server.port(), Ordering::SeqCst);
    }

    /// Bytes that went to servers so far.
    pub(crate) fn forwarded(&self) -> u64 {
        self.shared.lock().forwarded
    }

    /// Holds everything back once `bytes` more have gone to the server.
    pub(crate) fn hold_after(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.hold_at = state.forwarded + bytes;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until something is held back.
    #[track_caller]
    pub(crate) fn wait_until_held(&self) {
        let state = self.shared.lock();
        let (_state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.forwarded < state.hold_at)
            .expect("nobody panics with it");
        assert!(!timeout.timed_out(), "so much was never sent");
    }

    /// Lets everything through.
    pub(crate) fn open(&self) {
        self.shared.lock().hold_at = u64::MAX;
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.open();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for connection in &self.shared.lock().connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), Ok(server)) =
                (client, TcpStream::connect(("127.0.0.1", self.upstream.load(Ordering::SeqCst))))
            else {
                // The server is away: the client finds its connection closed.
                continue;
            };
            let clone = |stream: &TcpStream| stream.try_clone().expect("descriptors are left");
            self.lock().connections.extend([clone(&client), clone(&server)]);
            let (from, to) = (clone(&server), clone(&client));
            std::thread::spawn(move || pass(from, to, |_| {}));
            let shared = Arc::clone(self);
            std::thread::spawn(move || pass(client, server, |len| shared.count(len)));
        }
    }

    /// Counts bytes that are about to be forwarded, and waits while they may not be.
    fn count(&self, len: u64) {
        let is_held = |state: &mut State| state.forwarded >= state.hold_at;
        let mut state = self.changed.wait_while(self.lock(), is_held).expect("nobody panics with it");
        state.forwarded += len;
        drop(state);
        self.changed.notify_all();
    }
}

/// Copies until one side has ended, then ends both.
fn pass(mut from: TcpStream, mut to: TcpStream, mut before: impl FnMut(u64)) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        before(len as u64);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
