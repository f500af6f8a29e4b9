//! Thousands of connections that mean no good, against the real program: others are served as if they were not there.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::backup::{Backup, noise, sealer};
use crate::client::{Client, Token};
use crate::server::{Program, command, text};

const SILENT: usize = 1000;
const TRICKLING: usize = 1000;
/// Connections of one address, below what the server allows a stranger.
const PER_ADDRESS: usize = 50;
const MEMORY_MAX: u64 = 300 << 20;
/// Longer than anything takes on a quiet server, shorter than any time-out of it.
const NORMAL: Duration = Duration::from_secs(5);

const UPGRADE: &[u8] =
    b"GET /api/v1/connect HTTP/1.1\r\nHost: server\r\nConnection: upgrade\r\nUpgrade: delta-backup/1\r\n\r\n";

/// A connection from the `number`th of the loopback's addresses.
fn connect(server: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let host = u16::try_from(2 + number / PER_ADDRESS).unwrap().to_be_bytes();
    let from = SocketAddr::from((IpAddr::from(Ipv4Addr::new(127, 1, host[0], host[1])), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(from))?;
    socket.connect_timeout(&SockAddr::from(server), NORMAL)?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Keeps `count` connections open until told to stop: whichever is closed is opened again. `write` says what the one with
/// this number sends now.
fn flood(
    server: SocketAddr,
    first: usize,
    count: usize,
    is_over: &AtomicBool,
    open_count: &AtomicUsize,
    mut write: impl FnMut(&mut TcpStream, usize) -> std::io::Result<()>,
) {
    let mut open: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    while !is_over.load(Ordering::Relaxed) {
        for (index, place) in open.iter_mut().enumerate() {
            if let Some(stream) = place {
                let is_closed = matches!(stream.read(&mut [0; 512]), Ok(0));
                let is_broken = |error: std::io::Error| error.kind() != std::io::ErrorKind::WouldBlock;
                if is_closed || write(stream, index).is_err_and(is_broken) {
                    *place = None;
                }
            }
            if place.is_none() {
                *place = connect(server, first + index).ok();
            }
        }
        open_count.store(open.iter().flatten().count(), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Backs up and reads back; how long that took.
async fn back_up(address: SocketAddr, token: &Token, number: u8) -> Duration {
    let begun = Instant::now();
    let mut client = Client::connect(address).await;
    client.authenticate(token).await.unwrap();
    let keys = client.open_vault(None).await.unwrap().1.unwrap();
    let backup = Backup::new(&keys, &[("file", &noise(u64::from(number), 3_000_000))]);
    client.begin("home").await;
    client.put(&backup.records(&mut sealer(&keys))).await;
    client.commit(number, backup.snapshot).await.unwrap();
    let (records, missing) = client.fetch(&[backup.snapshot, backup.chunks[0].id], true).await.unwrap();
    assert_eq!((records.len(), missing), (2, vec![]));
    begun.elapsed()
}

fn enroll(dir: &Path) -> proto::EnrolmentString {
    let output = command(dir, &["enroll", "--device", "laptop", "--plain"]);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).trim().parse().unwrap()
}

/// The most memory the server has had.
fn peak_resident(server: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Ends the flood, also when a test fails in the middle of it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn floods_disturb_nobody() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let server = Program::serve(&dir, &["--login-timeout", "5s", "--log-level", "error"]);
    let address = server.address();
    let secret = enroll(&dir).secret;
    let token = runtime.block_on(async {
        let enrolled = Client::connect(address).await.enroll(secret).await.unwrap();
        Token { device: enrolled.device, secret: enrolled.secret }
    });

    let is_over = AtomicBool::new(false);
    let [silent, trickling, giant, random] = [const { AtomicUsize::new(0) }; 4];
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let is_over = &is_over;
        scope.spawn(|| flood(address, 0, SILENT, is_over, &silent, |_, _| Ok(())));
        scope.spawn(|| {
            let mut sent = vec![0usize; TRICKLING];
            flood(address, 10_000, TRICKLING, is_over, &trickling, |stream, index| {
                // Half of them get as far as the upgrade, and are slow there.
                let byte = UPGRADE[sent[index] % UPGRADE.len()];
                sent[index] += 1;
                match index % 2 == 0 && sent[index] == 1 {
                    true => stream.write_all(UPGRADE),
                    false => stream.write_all(&[byte]),
                }
            });
        });
        scope.spawn(|| {
            // A header that announces the most there is, of a type that may come first.
            let mut header = [0; 16];
            header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
            header[6] = 1;
            let crc = crc32c::crc32c(&header[..12]);
            header[12..].copy_from_slice(&crc.to_le_bytes());
            flood(address, 20_000, 40, is_over, &giant, |stream, _| stream.write_all(&[UPGRADE, &header[..]].concat()));
        });
        scope.spawn(|| {
            let mut seed = 0;
            flood(address, 21_000, 40, is_over, &random, |stream, index| {
                seed += 1;
                let bytes = noise(seed, 4096);
                // As HTTP, as TLS, and as frames.
                match index % 3 {
                    0 => stream.write_all(&bytes),
                    1 => stream.write_all(&[&[0x16, 3, 1][..], &bytes].concat()),
                    _ => stream.write_all(&[UPGRADE, &bytes[..]].concat()),
                }
            });
        });
        let _over = Over(is_over);
        let risen = Instant::now();
        while silent.load(Ordering::Relaxed) < SILENT || trickling.load(Ordering::Relaxed) < TRICKLING {
            assert!(risen.elapsed() < Duration::from_secs(30), "the flood does not rise");
            std::thread::sleep(Duration::from_millis(50));
        }
        for number in 1..=6 {
            std::thread::sleep(Duration::from_millis(700));
            times.push(runtime.block_on(back_up(address, &token, number)));
        }
    });
    assert!(times.iter().all(|time| *time < NORMAL), "{times:?}");
    let peak = peak_resident(server.id());
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    // It stops as it should.
    server.signal("TERM");
    assert!(server.output().status.success());
}

/// Bytes that a session may take beside the server's base, and that base.
const SESSION_MAX: u64 = 8 << 20;
const BASE_MAX: u64 = 256 << 20;
const IDLE: usize = 1000;

/// A thousand devices that began a session, put something, and say nothing more. A bound that grew with them by what each
/// may take would hold nothing: all of them together take less than the base and three of them.
#[test]
fn a_thousand_idle_sessions_take_little_memory() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let options = [
        "--max-account-connections",
        "2000",
        "--max-sessions",
        "4000",
        "--max-unauthenticated",
        "2000",
        "--log-level",
        "error",
    ];
    let server = Program::serve(&dir, &options);
    let address = server.address();
    let secret = enroll(&dir).secret;
    let before = peak_resident(server.id());
    runtime.block_on(async {
        let enrolled = Client::connect(address).await.enroll(secret).await.unwrap();
        let token = Token { device: enrolled.device, secret: enrolled.secret };
        let mut idle = Vec::new();
        for number in 0..IDLE {
            let mut client = Client::connect(address).await;
            client.authenticate(&token).await.unwrap();
            let keys = client.open_vault(None).await.unwrap().1.unwrap();
            client.begin(&format!("chain {number}")).await;
            if number % 10 == 0 {
                let backup = Backup::new(&keys, &[("file", &noise(number as u64, 10_000))]);
                client.put(&backup.records(&mut sealer(&keys))).await;
            }
            idle.push(client);
        }
        // They are all there, and whoever comes now is served.
        back_up(address, &token, 1).await;
        for client in &mut idle {
            client.flush().await.unwrap();
        }
    });
    let peak = peak_resident(server.id());
    assert!(peak < BASE_MAX + 3 * SESSION_MAX, "{} MiB, {} before", peak >> 20, before >> 20);
    server.signal("TERM");
    assert!(server.output().status.success());
}
