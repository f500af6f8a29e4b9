//! [`Settings`]: what holds, after flags, environment, file and defaults were put together. A `Settings` that exists is
//! within all bounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base_path::BasePath;
use crate::failure::{Failure, FailureKind};
use crate::host_port::HostPort;
use crate::mirror::MirrorSetting;
use crate::options::{LogFormat, LogLevel, MetricsAccess, Options, PermanentDelete};
use crate::units::{ByteCount, Span};

/// The settings file in the data directory.
pub(crate) const FILE_NAME: &str = "server.toml";
const PACK_SIZE_MIN: u64 = 64 << 10;
const PACK_SIZE_MAX: u64 = 128 << 20;
const SCRUB_RATE_MIN: u64 = 64 << 10;
const SEAL_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What holds.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is documented at the option of the same name")]
pub struct Settings {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub address: Option<HostPort>,
    pub hosts: Vec<String>,
    pub base_path: BasePath,
    pub trusted_proxies: Vec<IpAddr>,
    pub port_file: Option<PathBuf>,
    pub plain_http: bool,
    pub metrics: MetricsAccess,
    pub pack_size: u64,
    pub seal_interval: Duration,
    pub min_free: u64,
    /// Bytes taken in advance, for what makes room on a full disk; 0 for none.
    pub reserve: u64,
    pub any_file_system: bool,
    pub gc_interval: Duration,
    pub gc_grace: Duration,
    pub gc_waste: u8,
    pub scrub_interval: Duration,
    pub scrub_rate: u64,
    pub catalog_backup_interval: Duration,
    pub catalog_backup_copy: Option<PathBuf>,
    pub mirrors: Vec<MirrorSetting>,
    pub mirror_interval: Duration,
    pub retention_interval: Duration,
    pub trash_delay: Duration,
    pub login_timeout: Duration,
    pub idle_timeout: Duration,
    pub session_lifetime: Duration,
    pub drain_timeout: Duration,
    pub enrolment_lifetime: Duration,
    pub login_idle: Duration,
    pub login_lifetime: Duration,
    pub max_connections: usize,
    pub max_unauthenticated: usize,
    pub max_account_connections: usize,
    pub max_sessions: usize,
    /// Longest file of a drive, in bytes.
    pub max_file_size: Option<u64>,
    pub permanent_delete: PermanentDelete,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
}

impl Settings {
    /// Puts the settings together; `said` is what flags and environment say, `config` the file they name.
    ///
    /// # Errors
    /// [`Failure`] when there is no data directory named, the file cannot be read, or a value is out of bounds.
    pub fn resolve(said: Options, config: Option<&Path>) -> Result<Self, Failure> {
        let file = FileOptions::of(&said, config)?;
        Self::from_options(said.or(file.options))
    }

    /// Time that what is in the trash can be brought back, in milliseconds.
    pub(crate) fn trash_delay_ms(&self) -> u64 {
        u64::try_from(self.trash_delay.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn from_options(options: Options) -> Result<Self, Failure> {
        let settings = Self::unchecked(options)?;
        settings.check_plain(settings.listen)?;
        match settings.out_of_bounds().first() {
            Some((name, bound)) => Err(Failure::usage(format!("{name} is out of bounds: {bound} is allowed"))),
            None => Ok(settings),
        }
    }

    /// The same, whatever the bounds.
    pub(crate) fn unchecked(options: Options) -> Result<Self, Failure> {
        let data_dir = options.data_dir.ok_or_else(|| {
            Failure::usage("no data directory is named")
                .hint("say --data-dir DIR, or set BACKUP_SERVER_DATA_DIR; the server keeps everything there")
        })?;
        let span = |said: Option<Span>, default_ms| said.map_or(Duration::from_millis(default_ms), |s| s.0);
        let count = |said: Option<NonZeroUsize>, default| said.map_or(default, NonZeroUsize::get);
        Ok(Self {
            data_dir,
            listen: options.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            address: options.address,
            hosts: options.hosts.unwrap_or_default(),
            base_path: options.base_path.unwrap_or_default(),
            trusted_proxies: options.trusted_proxies.unwrap_or_default(),
            port_file: options.port_file,
            plain_http: options.plain_http.unwrap_or(false),
            metrics: options.metrics.unwrap_or(MetricsAccess::Loopback),
            pack_size: options.pack_size.map_or(64 << 20, |bytes| bytes.0),
            seal_interval: span(options.seal_interval, 5_000),
            min_free: options.min_free.map_or(1 << 30, |bytes| bytes.0),
            reserve: options.reserve.map_or(256 << 20, |bytes| bytes.0),
            any_file_system: options.any_file_system.unwrap_or(false),
            gc_interval: span(options.gc_interval, 86_400_000),
            gc_grace: span(options.gc_grace, 7 * 86_400_000),
            gc_waste: options.gc_waste.unwrap_or(5),
            scrub_interval: span(options.scrub_interval, 30 * 86_400_000),
            scrub_rate: options.scrub_rate.map_or(16 << 20, |bytes| bytes.0),
            catalog_backup_interval: span(options.catalog_backup_interval, 86_400_000),
            catalog_backup_copy: options.catalog_backup_copy,
            mirrors: options.mirrors.unwrap_or_default(),
            mirror_interval: span(options.mirror_interval, 300_000),
            retention_interval: span(options.retention_interval, 3_600_000),
            trash_delay: span(options.trash_delay, 7 * 86_400_000),
            login_timeout: span(options.login_timeout, 10_000),
            idle_timeout: span(options.idle_timeout, 90_000),
            session_lifetime: span(options.session_lifetime, 7 * 86_400_000),
            drain_timeout: span(options.drain_timeout, 30_000),
            enrolment_lifetime: span(options.enrolment_lifetime, 900_000),
            login_idle: span(options.login_idle, 1_800_000),
            login_lifetime: span(options.login_lifetime, 12 * 3_600_000),
            max_connections: count(options.max_connections, 4096),
            max_unauthenticated: count(options.max_unauthenticated, 256),
            max_account_connections: count(options.max_account_connections, 256),
            max_sessions: count(options.max_sessions, 64),
            max_file_size: options.max_file_size.map(|bytes| bytes.0),
            permanent_delete: options.permanent_delete.unwrap_or(PermanentDelete::Admins),
            log_level: options.log_level.unwrap_or(LogLevel::Info),
            log_format: options.log_format.unwrap_or(LogFormat::Text),
        })
    }

    /// The same as options, none of them left out that has a value.
    pub(crate) fn as_options(&self) -> Options {
        Options {
            data_dir: Some(self.data_dir.clone()),
            listen: Some(self.listen),
            address: self.address.clone(),
            hosts: Some(self.hosts.clone()),
            base_path: Some(self.base_path.clone()),
            trusted_proxies: Some(self.trusted_proxies.clone()),
            port_file: self.port_file.clone(),
            plain_http: Some(self.plain_http),
            metrics: Some(self.metrics),
            pack_size: Some(ByteCount(self.pack_size)),
            seal_interval: Some(Span(self.seal_interval)),
            min_free: Some(ByteCount(self.min_free)),
            reserve: Some(ByteCount(self.reserve)),
            any_file_system: Some(self.any_file_system),
            gc_interval: Some(Span(self.gc_interval)),
            gc_grace: Some(Span(self.gc_grace)),
            gc_waste: Some(self.gc_waste),
            scrub_interval: Some(Span(self.scrub_interval)),
            scrub_rate: Some(ByteCount(self.scrub_rate)),
            catalog_backup_interval: Some(Span(self.catalog_backup_interval)),
            catalog_backup_copy: self.catalog_backup_copy.clone(),
            mirrors: Some(self.mirrors.clone()),
            mirror_interval: Some(Span(self.mirror_interval)),
            retention_interval: Some(Span(self.retention_interval)),
            trash_delay: Some(Span(self.trash_delay)),
            login_timeout: Some(Span(self.login_timeout)),
            idle_timeout: Some(Span(self.idle_timeout)),
            session_lifetime: Some(Span(self.session_lifetime)),
            drain_timeout: Some(Span(self.drain_timeout)),
            enrolment_lifetime: Some(Span(self.enrolment_lifetime)),
            login_idle: Some(Span(self.login_idle)),
            login_lifetime: Some(Span(self.login_lifetime)),
            max_connections: NonZeroUsize::new(self.max_connections),
            max_unauthenticated: NonZeroUsize::new(self.max_unauthenticated),
            max_account_connections: NonZeroUsize::new(self.max_account_connections),
            max_sessions: NonZeroUsize::new(self.max_sessions),
            max_file_size: self.max_file_size.map(ByteCount),
            permanent_delete: Some(self.permanent_delete),
            log_level: Some(self.log_level),
            log_format: Some(self.log_format),
        }
    }

    /// The address of the start page for a browser that finds the server at `place`, with its last slash.
    pub(crate) fn url_at(&self, place: &HostPort) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{place}{}/", self.base_path)
    }

    /// Whether this may be served on `address`: without TLS on loopback only.
    pub(crate) fn check_plain(&self, address: SocketAddr) -> Result<(), Failure> {
        if !self.plain_http || address.ip().is_loopback() {
            return Ok(());
        }
        let message = format!("plain-http is only allowed on loopback, not on {}", address.ip());
        let hint = "without plain-http the same port speaks TLS, with a certificate made at the first start";
        Err(Failure::new(FailureKind::NotAllowed, message).hint(hint))
    }

    /// The settings that are out of bounds, each with what is allowed.
    pub(crate) fn out_of_bounds(&self) -> Vec<(&'static str, &'static str)> {
        let bounds = [
            ("pack-size", (PACK_SIZE_MIN..=PACK_SIZE_MAX).contains(&self.pack_size), "64KiB to 128MiB"),
            ("seal-interval", self.seal_interval <= SEAL_INTERVAL_MAX, "at most 60s"),
            ("gc-waste", self.gc_waste <= 100, "0 to 100"),
            ("scrub-rate", self.scrub_rate >= SCRUB_RATE_MIN, "64KiB or more"),
            ("retention-interval", !self.retention_interval.is_zero(), "more than 0s"),
            ("login-timeout", !self.login_timeout.is_zero(), "more than 0s"),
            ("login-idle", !self.login_idle.is_zero(), "more than 0s"),
            ("login-lifetime", !self.login_lifetime.is_zero(), "more than 0s"),
            ("max-file-size", self.max_file_size != Some(0), "1B or more"),
            ("hosts", self.hosts.iter().all(|name| is_host_name(name)), "names without port, such as backup.example"),
            ("idle-timeout", !self.idle_timeout.is_zero(), "more than 0s"),
        ];
        bounds.into_iter().filter(|(_, holds, _)| !holds).map(|(name, _, bound)| (name, bound)).collect()
    }
}

fn is_host_name(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=253).contains(&name.len()) && name.bytes().all(is_name)
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct FileOptions {
    pub(crate) options: Options,
    /// None when there is no file.
    pub(crate) path: Option<PathBuf>,
}

impl FileOptions {
    /// Those of the file that `config` names, else of the one in the data directory, if there is one.
    pub(crate) fn of(said: &Options, config: Option<&Path>) -> Result<Self, Failure> {
        match Self::path(said, config) {
            Some(path) => Ok(Self { options: read_file(&path)?, path: Some(path) }),
            None => Ok(Self::default()),
        }
    }

    /// The file that holds: the one that `config` names, else the one in the data directory, if there is one.
    pub(crate) fn path(said: &Options, config: Option<&Path>) -> Option<PathBuf> {
        let beside = || said.data_dir.as_ref().map(|dir| dir.join(FILE_NAME)).filter(|path| path.exists());
        config.map(Path::to_owned).or_else(beside)
    }
}

fn read_file(path: &Path) -> Result<Options, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read settings from {}", path.display())).because(&error))?;
    toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("settings in {} are wrong", path.display())).because(&error))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write settings themselves")]
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
        let said = Options { pack_size: Some(ByteCount(2 << 20)), ..said(dir.path()) };
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
        for wrong in [
            "pack-size = \"1KiB\"",
            "gc-waste = 101",
            "seal-interval = \"2m\"",
            "login-timeout = \"0s\"",
            "max-sessions = 0",
            "hosts = [\"backup.example:8080\"]",
            "base-path = \"/api/backup\"",
            "login-idle = \"0s\"",
        ] {
            let (dir, _) = file(wrong);
            let failure = Settings::resolve(said(dir.path()), None).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Usage, "{wrong}");
        }
        let (dir, _) = file("listen = \"0.0.0.0:80\"\nplain-http = true");
        assert_eq!(Settings::resolve(said(dir.path()), None).unwrap_err().kind(), FailureKind::NotAllowed);
        assert_eq!(Settings::resolve(Options::default(), None).unwrap_err().kind(), FailureKind::Usage);
    }
}
