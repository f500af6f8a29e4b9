//! Props: a server in this process, and the real program.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use proto::EnrolmentString;
use server_bin::{ByteCount, Options, Server, Settings};
use tempfile::TempDir;

/// A server in this process, on a directory that goes with it.
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) dir: TempDir,
}

/// Options of every test: a free port, plain HTTP, and a disk that is never too full.
pub(crate) fn options(dir: &Path) -> Options {
    Options {
        data_dir: Some(dir.to_owned()),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        plain_http: Some(true),
        min_free: Some(ByteCount(0)),
        reserve: Some(ByteCount(0)),
        hosts: Some(vec!["server".to_owned()]),
        ..Options::default()
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn start_in(dir: TempDir, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = options(dir.path());
        change(&mut options);
        let server = Server::start(Settings::resolve(options, None).unwrap()).await.unwrap();
        Self { server, dir }
    }

    /// Stops the server; its directory stays.
    pub(crate) async fn stop(self) -> TempDir {
        self.server.stop().await.unwrap();
        self.dir
    }

    pub(crate) async fn restart(self) -> Self {
        let dir = self.stop().await;
        Self::start_in(dir, |_| ()).await
    }

    /// Runs an administrative command against this server.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let dir = self.dir.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            command(&dir, &arguments)
        })
        .await
        .unwrap()
    }

    /// An invitation for one device.
    pub(crate) async fn invite(&self, account: &str, device: &str) -> EnrolmentString {
        let output = self.command(&["enroll", "--account", account, "--device", device]).await;
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).trim().parse().unwrap()
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, page) = crate::http::get(self.server.address(), "/metrics").await;
        let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// Runs an administrative command on a data directory.
pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Output {
    program().args(arguments).arg("--data-dir").arg(dir).output().unwrap()
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_backup-server"));
    // Where temporary folders are in memory, tests are as good.
    program.env_clear().env("BACKUP_SERVER_ANY_FILE_SYSTEM", "true").stdin(Stdio::null());
    program
}

/// The real program, serving; ended with the test that started it.
pub(crate) struct Program {
    /// `None` once it is waited for.
    child: Option<Child>,
    pub(crate) port: u16,
}

impl Program {
    /// Starts it, and waits until it listens.
    pub(crate) fn serve(dir: &Path, arguments: &[&str]) -> Self {
        let port_file = dir.with_extension("port");
        let _ = std::fs::remove_file(&port_file);
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--plain-http", "--min-free", "0B", "--reserve", "0B"])
            .args(arguments)
            .arg("--data-dir")
            .arg(dir)
            .arg("--port-file")
            .arg(&port_file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let port = wait_for("the port file", || {
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Self { child: Some(child), port }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn output(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = answer() {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same without blocking the runtime.
pub(crate) async fn wait_until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
