//! Where the client keeps its state: [`Folders`], and [`Connection`], the file that says which server this device belongs
//! to.
#![expect(clippy::disallowed_methods, reason = "it is the place where the connection file is written")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::hex;
use proto::{DeviceId, Secret};
use serde::{Deserialize, Serialize};

use crate::error::{ClientError, ConfigError};

/// The client's two folders. The cache may be deleted at any time; the configuration holds the device's token.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `connection.toml` is here.
    pub config: PathBuf,
    /// Stat and signature caches are here.
    pub cache: PathBuf,
}

impl Folders {
    /// The folders the environment names: `BACKUP_CLIENT_CONFIG_DIR` and `BACKUP_CLIENT_CACHE_DIR`, else those of the XDG
    /// base directory specification. `variable` looks up an environment variable.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when there is no home directory either.
    pub fn from_environment(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, ClientError> {
        let folder = |own: &str, xdg: &str, below_home: &str| {
            variable(own)
                .or_else(|| variable(xdg).filter(|path| path.is_absolute()).map(|path| path.join("backup-client")))
                .or_else(|| variable("HOME").map(|home| home.join(below_home).join("backup-client")))
                .ok_or_else(|| ClientError::Usage(format!("neither {own} nor HOME is set")))
        };
        Ok(Self {
            config: folder("BACKUP_CLIENT_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")?,
            cache: folder("BACKUP_CLIENT_CACHE_DIR", "XDG_CACHE_HOME", ".cache")?,
        })
    }

    fn connection_file(&self) -> PathBuf {
        self.config.join("connection.toml")
    }
}

/// How a server proves that it is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS key.
    Pinned([u8; 32]),
    /// It does not: plain HTTP, on this machine only.
    Plain,
}

/// Which server this device belongs to, and its token there.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the server proves that it is the one.
    pub identity: Identity,
    /// This device, for the server.
    pub device: DeviceId,
    /// Proof that it is this device.
    pub secret: Secret<32>,
    /// What the device is called there.
    pub device_name: String,
    /// The account it belongs to.
    pub account: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionFile {
    host: String,
    port: u16,
    identity: String,
    device: String,
    secret: String,
    device_name: String,
    account: String,
}

impl Connection {
    /// `host:port`, brackets around an IPv6 address.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }

    /// Reads the connection file.
    ///
    /// # Errors
    /// [`ClientError::NotConnected`] without one; [`ClientError::Config`] when it is malformed, or others can read it.
    pub fn load(folders: &Folders) -> Result<Self, ClientError> {
        let path = folders.connection_file();
        let wrong = |source: ConfigError| ClientError::Config { path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ClientError::NotConnected),
            Err(error) => return Err(wrong(error.into())),
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(wrong(ConfigError::Exposed { mode }));
        }
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.into()))?;
        Self::parse(&text).map_err(|reason| wrong(ConfigError::Malformed(reason)))
    }

    /// Writes the connection file, readable by this user only; an older one is replaced at once or not at all.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn save(&self, folders: &Folders) -> Result<(), ClientError> {
        let path = folders.connection_file();
        let failed = |verb: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| ClientError::Io { verb, path, source }
        };
        ensure_private(&folders.config).map_err(failed("create", &folders.config))?;
        let new = folders.config.join("connection.toml.new");
        let _ = fs::remove_file(&new);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed("create", &new))?;
        file.write_all(self.to_text().as_bytes()).map_err(failed("write", &new))?;
        file.sync_all().map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))
    }

    pub(crate) fn to_text(&self) -> String {
        let file = ConnectionFile {
            host: self.host.clone(),
            port: self.port,
            identity: match &self.identity {
                Identity::Pinned(pin) => hex::encode(pin),
                Identity::Plain => "plain".to_owned(),
            },
            device: hex::encode(self.device.as_bytes()),
            secret: hex::encode(self.secret.expose()),
            device_name: self.device_name.clone(),
            account: self.account.clone(),
        };
        toml::to_string(&file).expect("strings and a number make a table")
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: ConnectionFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let wrong = |field: &str| format!("{field} is not what it should be");
        Ok(Self {
            identity: match file.identity.as_str() {
                "plain" => Identity::Plain,
                pin => Identity::Pinned(hex::decode(pin).ok_or_else(|| wrong("identity"))?),
            },
            device: DeviceId::from_bytes(hex::decode(&file.device).ok_or_else(|| wrong("device"))?),
            secret: Secret::new(hex::decode(&file.secret).ok_or_else(|| wrong("secret"))?),
            host: file.host,
            port: file.port,
            device_name: file.device_name,
            account: file.account,
        })
    }
}

/// Makes a folder, and those above it that are missing, for this user only: secrets and names of files go there.
pub(crate) fn ensure_private(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// `host:port`, brackets around an IPv6 address.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_reads_back() {
        for identity in [Identity::Plain, Identity::Pinned([0xab; 32])] {
            let connection = Connection {
                host: "::1".into(),
                port: 8080,
                identity,
                device: DeviceId::from_bytes([1; 8]),
                secret: Secret::new([2; 32]),
                device_name: "laptop".into(),
                account: "admin".into(),
            };
            let read = Connection::parse(&connection.to_text()).unwrap();
            assert_eq!(read.address(), "[::1]:8080");
            assert_eq!(read.identity, identity);
            assert_eq!(read.secret.expose(), connection.secret.expose());
            assert!(!format!("{connection:?}").contains("0202"), "the secret shows");
        }
    }

    #[test]
    fn a_malformed_connection_is_refused() {
        assert!(Connection::parse("host = 1").is_err());
        assert!(Connection::parse("").is_err());
    }
}
