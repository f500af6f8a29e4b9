//! `key export`: needs the folder of keys alone, whatever became of the rest of the data directory.
#![expect(clippy::disallowed_methods, reason = "it is the place where keys are exported")]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::admin::Item;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::home::{keys_dir, load_keys};
use crate::vault_keys;

const PASSPHRASE_LEN_MAX: u64 = 4096;

/// Writes the keys of all vaults to the new file `to`.
///
/// # Errors
/// [`Failure`] when keys are missing, or the file is there already.
pub(crate) fn run(
    settings: &Settings,
    to: &Path,
    passphrase_file: Option<&Path>,
    emit: &mut dyn FnMut(Item),
) -> Result<(), Failure> {
    let keys = load_keys(settings)?;
    let file = vault_keys::read(&keys_dir(settings))?.ok_or_else(|| {
        Failure::new(FailureKind::Unavailable, "there are no keys of vaults here").hint("start the server once")
    })?;
    let passphrase = passphrase_file.map(passphrase).transpose()?;
    let exported = vault_keys::export(&file, &keys, passphrase.as_ref().map(|passphrase| passphrase.as_slice()))?;
    let cannot = |error: std::io::Error| {
        Failure::new(FailureKind::Unavailable, format!("cannot write {}", to.display())).because(&error)
    };
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(cannot)?;
    out.write_all(exported.to_text().as_bytes()).and_then(|()| out.sync_all()).map_err(cannot)?;
    emit(Item::KeysExported {
        file: to.display().to_string(),
        vaults: exported.vaults.len() as u64,
        with_passphrase: passphrase.is_some(),
    });
    Ok(())
}

/// Reads a passphrase: the first line of a file.
///
/// # Errors
/// [`Failure`] when the file cannot be read, or the line is empty.
pub(crate) fn passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read;
    let cannot = |error: std::io::Error| {
        Failure::new(FailureKind::Unavailable, format!("cannot read {}", path.display())).because(&error)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(PASSPHRASE_LEN_MAX).read_to_end(&mut bytes).map_err(cannot)?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    bytes.truncate(end);
    if bytes.is_empty() {
        return Err(Failure::usage(format!("the first line of {} is empty", path.display())));
    }
    Ok(bytes)
}
