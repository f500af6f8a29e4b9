//! [`Settings`]: what holds, after flags, environment, file and defaults were put together. A `Settings` that exists is
//! within all bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure, FailureKind};
use crate::host_port::HostPort;
use crate::options::{LogFormat, LogLevel, MetricsAccess, Options};

const FILE_NAME: &str = "server.toml";
const PACK_SIZE_MIN: u64 = 64 << 10;
const PACK_SIZE_MAX: u64 = 128 << 20;
const SEAL_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What holds.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is documented at the option of the same name")]
pub struct Settings {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub address: Option<HostPort>,
    pub port_file: Option<PathBuf>,
    pub plain_http: bool,
    pub metrics: MetricsAccess,
    pub pack_size: u64,
    pub seal_interval: Duration,
    pub min_free: u64,
    pub login_timeout: Duration,
    pub idle_timeout: Duration,
    pub drain_timeout: Duration,
    pub enrolment_lifetime: Duration,
    pub max_connections: usize,
    pub max_unauthenticated: usize,
    pub max_sessions: usize,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
}

impl Settings {
    /// Puts the settings together; `said` is what flags and environment say, `config` the file they name.
    ///
    /// # Errors
    /// [`Failure`] when there is no data directory named, the file cannot be read, or a value is out of bounds.
    pub fn resolve(said: Options, config: Option<&Path>) -> Result<Self, Failure> {
        let file = match (config, &said.data_dir) {
            (Some(path), _) => read_file(path)?,
            (None, Some(data_dir)) => read_file_if_there(&data_dir.join(FILE_NAME))?,
            (None, None) => Options::default(),
        };
        Self::from_options(said.or(file))
    }

    fn from_options(options: Options) -> Result<Self, Failure> {
        let data_dir = options.data_dir.ok_or_else(|| {
            Failure::usage("no data directory is named")
                .hint("say --data-dir DIR, or set BACKUP_SERVER_DATA_DIR; the server keeps everything there")
        })?;
        let span =
            |said: Option<crate::units::Span>, default_ms| said.map_or(Duration::from_millis(default_ms), |s| s.0);
        let count = |said: Option<std::num::NonZeroUsize>, default| said.map_or(default, std::num::NonZeroUsize::get);
        let settings = Self {
            data_dir,
            listen: options.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            address: options.address,
            port_file: options.port_file,
            plain_http: options.plain_http.unwrap_or(false),
            metrics: options.metrics.unwrap_or(MetricsAccess::Loopback),
            pack_size: options.pack_size.map_or(64 << 20, |bytes| bytes.0),
            seal_interval: span(options.seal_interval, 5_000),
            min_free: options.min_free.map_or(1 << 30, |bytes| bytes.0),
            login_timeout: span(options.login_timeout, 10_000),
            idle_timeout: span(options.idle_timeout, 90_000),
            drain_timeout: span(options.drain_timeout, 30_000),
            enrolment_lifetime: span(options.enrolment_lifetime, 900_000),
            max_connections: count(options.max_connections, 4096),
            max_unauthenticated: count(options.max_unauthenticated, 64),
            max_sessions: count(options.max_sessions, 64),
            log_level: options.log_level.unwrap_or(LogLevel::Info),
            log_format: options.log_format.unwrap_or(LogFormat::Text),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.plain_http && !self.listen.ip().is_loopback() {
            let message = format!("plain-http is only allowed on loopback, not on {}", self.listen.ip());
            let hint = "without plain-http the same port speaks TLS, with a certificate made at the first start";
            return Err(Failure::new(FailureKind::NotAllowed, message).hint(hint));
        }
        let bounds = [
            ("pack-size", (PACK_SIZE_MIN..=PACK_SIZE_MAX).contains(&self.pack_size), "64KiB to 128MiB"),
            ("seal-interval", self.seal_interval <= SEAL_INTERVAL_MAX, "at most 60s"),
            ("login-timeout", !self.login_timeout.is_zero(), "more than 0s"),
            ("idle-timeout", !self.idle_timeout.is_zero(), "more than 0s"),
        ];
        match bounds.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, bound)) => Err(Failure::usage(format!("{name} is out of bounds: {bound} is allowed"))),
            None => Ok(()),
        }
    }
}

fn read_file_if_there(path: &Path) -> Result<Options, Failure> {
    if path.exists() { read_file(path) } else { Ok(Options::default()) }
}

fn read_file(path: &Path) -> Result<Options, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read settings from {}", path.display())).because(&error))?;
    toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("settings in {} are wrong", path.display())).because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn said(data_dir: &Path) -> Options {
        Options { data_dir: Some(data_dir.to_owned()), ..Options::default() }
    }

    #[test]
    fn what_is_said_wins_over_the_file_and_the_file_over_the_default() {
        let (dir, _) =
            file("listen = \"127.0.0.1:1\"\nseal-interval = \"1s\"\npack-size = \"1MiB\"\nmetrics = \"off\"\n");
        let said = Options { pack_size: Some(crate::units::ByteCount(2 << 20)), ..said(dir.path()) };
        let settings = Settings::resolve(said, None).unwrap();
        assert_eq!(settings.pack_size, 2 << 20);
        assert_eq!(settings.seal_interval, Duration::from_secs(1));
        assert_eq!(settings.listen.port(), 1);
        assert_eq!(settings.metrics, MetricsAccess::Off);
        assert_eq!(settings.idle_timeout, Duration::from_secs(90));
    }

    #[test]
    fn a_file_may_name_the_data_directory() {
        let (_dir, path) = file("data-dir = \"/srv/backup\"\nplain-http = true\n");
        let settings = Settings::resolve(Options::default(), Some(&path)).unwrap();
        assert_eq!(settings.data_dir, Path::new("/srv/backup"));
        assert!(settings.plain_http);
    }

    #[test]
    fn unknown_keys_are_errors_with_their_line() {
        let (dir, _) = file("listen = \"127.0.0.1:1\"\nseal = \"1s\"\n");
        let report = Settings::resolve(said(dir.path()), None).unwrap_err().report();
        assert!(report.contains("line 2") && report.contains("unknown field `seal`"), "{report}");
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for wrong in ["pack-size = \"1KiB\"", "seal-interval = \"2m\"", "login-timeout = \"0s\"", "max-sessions = 0"] {
            let (dir, _) = file(wrong);
            let failure = Settings::resolve(said(dir.path()), None).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Usage, "{wrong}");
        }
        let (dir, _) = file("listen = \"0.0.0.0:80\"\nplain-http = true");
        assert_eq!(Settings::resolve(said(dir.path()), None).unwrap_err().kind(), FailureKind::NotAllowed);
        assert_eq!(Settings::resolve(Options::default(), None).unwrap_err().kind(), FailureKind::Usage);
    }
}
