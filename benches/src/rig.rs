//! [`Rig`]: a server and a connected client in a folder that goes away with them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::process::{Client, Outcome, Run, Server};

pub struct Rig {
    pub server: Server,
    pub client: Client,
    home: TempDir,
}

impl Rig {
    /// The programs are those beside this one, or where `BENCH_BIN_DIR` says.
    pub fn start() -> Outcome<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), the server with these options.
    pub fn start_with(options: &[&str]) -> Outcome<Self> {
        Self::start_of(&program("backup-server")?, &program("backup-client")?, options)
    }

    /// A server and a client of these programs.
    pub fn start_of(server: &Path, client: &Path, options: &[&str]) -> Outcome<Self> {
        let home = tempfile::Builder::new().prefix("delta-backup-bench.").tempdir().map_err(|e| e.to_string())?;
        let server = Server::start_with(server, home.path(), options)?;
        let client = Client::new(client, &home.path().join("client"));
        client.run(&["connect", &server.enroll("bench")?])?;
        Ok(Self { server, client, home })
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A new folder for what is backed up.
    pub fn source(&self) -> Outcome<PathBuf> {
        let path = self.home().join("source");
        fs::create_dir(&path).map_err(|error| error.to_string())?;
        Ok(path)
    }

    pub fn back_up(&self, source: &Path) -> Outcome<Run> {
        self.succeed(&["backup".as_ref(), source.as_os_str()])
    }

    /// Restores the contents of a folder of a snapshot into an empty one.
    pub fn restore(&self, snapshot: &str, source: &Path) -> Outcome<(Run, PathBuf)> {
        let target = self.home().join("restored");
        if target.exists() {
            fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
        }
        let from = format!("{snapshot}:{}", source.display());
        let run = self.succeed(&["restore".as_ref(), from.as_ref(), target.as_os_str()])?;
        Ok((run, target))
    }

    fn succeed(&self, arguments: &[&OsStr]) -> Outcome<Run> {
        let run = self.client.try_run(arguments)?;
        if run.status.success() { Ok(run) } else { Err(format!("{arguments:?}: {}\n{}", run.status, run.errors)) }
    }

    /// Bytes of everything the server keeps.
    pub fn stored_len(&self) -> Outcome<u64> {
        len_below(&self.server.data_dir()).map_err(|error| error.to_string())
    }
}

pub fn program(name: &str) -> Outcome<PathBuf> {
    let dir = match std::env::var_os("BENCH_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_exe().map_err(|e| e.to_string())?.parent().expect("a file has a folder").to_owned(),
    };
    let program = dir.join(name);
    if program.is_file() { Ok(program) } else { Err(format!("{} is missing: build it first", program.display())) }
}

/// Bytes of all files below a folder.
pub fn len_below(dir: &Path) -> std::io::Result<u64> {
    let mut len = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.path().symlink_metadata()?;
        len += if metadata.is_dir() { len_below(&entry.path())? } else { metadata.len() };
    }
    Ok(len)
}

/// The snapshot a backup made.
pub fn snapshot(run: &Run) -> String {
    run.last().and_then(|event| event["snapshot"].as_str()).unwrap_or_default().to_owned()
}

/// BLAKE3 of a file.
pub fn hash(path: &Path) -> Outcome<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|error| format!("{}: {error}", path.display()))? {
            0 => return Ok(hasher.finalize()),
            len => hasher.update(&buffer[..len]),
        };
    }
}

/// What was sent and received, without TLS and TCP themselves.
pub fn wire_len(run: &Run) -> u64 {
    run.number("bytes_sent") + run.number("bytes_received")
}
