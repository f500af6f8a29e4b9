//! [`MirrorSetting`]: a mirror that the server keeps in step by itself, as settings name it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mirror::{MirrorRequest, MirrorSource};

/// What is mirrored, and where to: `drive:admin=/srv/plain`, `chain:laptop/home=/srv/laptop` for its newest snapshot,
/// `snapshots:laptop/home=/srv/laptop` for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSetting {
    source: MirrorSource,
    target: PathBuf,
}

/// The text does not name a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected drive:ACCOUNT=/FOLDER, chain:DEVICE/CHAIN=/FOLDER or snapshots:DEVICE/CHAIN=/FOLDER")]
pub struct MirrorSettingError;

impl MirrorSetting {
    /// What a run of it is to do.
    pub(crate) fn request(&self) -> MirrorRequest {
        let Self { source, target } = self.clone();
        MirrorRequest { source, target, is_dry_run: false, is_privileged: false }
    }

    /// Where it goes.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }
}

impl FromStr for MirrorSetting {
    type Err = MirrorSettingError;

    fn from_str(text: &str) -> Result<Self, MirrorSettingError> {
        // The folder begins with a slash, so names may have an equals sign.
        let at = text.find("=/").ok_or(MirrorSettingError)?;
        let (source, target) = (&text[..at], PathBuf::from(&text[at + 1..]));
        let source = match source.split_once(':').ok_or(MirrorSettingError)? {
            (_, "") => return Err(MirrorSettingError),
            ("drive", account) => MirrorSource::Drive(account.to_owned()),
            ("chain", chain) => MirrorSource::Latest(chain.to_owned()),
            ("snapshots", chain) => MirrorSource::Snapshots(chain.to_owned()),
            _ => return Err(MirrorSettingError),
        };
        Ok(Self { source, target })
    }
}

impl fmt::Display for MirrorSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.source, self.target.display())
    }
}

impl Serialize for MirrorSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MirrorSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_and_print() {
        for text in ["drive:admin=/srv/plain", "chain:laptop/a=b=/srv/x=/y", "snapshots:laptop/home=/"] {
            assert_eq!(text.parse::<MirrorSetting>().unwrap().to_string(), text);
        }
        assert_eq!("chain:a=b=/c".parse::<MirrorSetting>().unwrap().target(), Path::new("/c"));
        for wrong in ["", "drive:admin", "drive:=/a", "drive:admin=plain", "tree:a=/b", "admin=/srv"] {
            assert_eq!(wrong.parse::<MirrorSetting>(), Err(MirrorSettingError), "{wrong}");
        }
    }
}
