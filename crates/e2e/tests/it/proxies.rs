//! A client behind a proxy that knows no upgrades but that of WebSockets, as an unconfigured nginx with the usual two lines.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{Client, Home, Server, User, assert_same_tree};

/// Drops the header `Upgrade` where it says anything but `websocket`, and passes all else on.
struct Proxy {
    address: String,
    dropped: Arc<AtomicU32>,
    web_sockets: Arc<AtomicU32>,
}

impl Proxy {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (dropped, web_sockets) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let (port, counts) = (server.port(), (Arc::clone(&dropped), Arc::clone(&web_sockets)));
        // It ends with the process of the test: nobody connects any more.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, counts) = (client.unwrap(), counts.clone());
                // A connection that breaks is none of the proxy's business.
                thread::spawn(move || pass(&client, port, &counts.0, &counts.1));
            }
        });
        Self { address, dropped, web_sockets }
    }
}

fn pass(client: &TcpStream, port: u16, dropped: &AtomicU32, web_sockets: &AtomicU32) -> io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if from_client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.to_ascii_lowercase().strip_prefix("upgrade:").map(str::trim) {
            Some("websocket") => _ = web_sockets.fetch_add(1, Ordering::Relaxed),
            Some(_) => {
                dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            None => {}
        }
        server.write_all(line.as_bytes())?;
    }
    let (back_from, back_to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || copy(back_from, &back_to));
    copy(from_client, &server)?;
    back.join().expect("copying does not panic")
}

fn copy(mut from: impl Read, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}

#[test]
fn where_upgrades_are_dropped_frames_go_through_a_web_socket() {
    let home = Home::new();
    let server = Server::start(&home, &["--plain-http"]);
    let proxy = Proxy::before(&server);
    let client = Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll_with(&["--device", "laptop", "--plain", "--address", &proxy.address]));
    let tree = home.folder("tree");
    let mut random = Random::new(seed());
    fs::write(tree.join("large"), random.bytes(9 << 20)).unwrap();
    fs::write(tree.join("small"), random.bytes(1000)).unwrap();
    client.backup(&tree);
    let target = home.path("restored");
    client.restore(format!("latest:{}", tree.display()), &target);
    assert_same_tree(&tree, &target, CompareOptions::unprivileged());
    let counts = [&proxy.dropped, &proxy.web_sockets].map(|count| count.load(Ordering::Relaxed));
    assert!(counts[0] >= 3 && counts[0] == counts[1], "{counts:?}");
}
